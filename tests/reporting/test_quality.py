import pytest

from palu.reporting.load import collect
from palu.reporting.numbers import deviation, number_text, p_text
from palu.reporting.quality import Quality, best
from palu.reporting.quality import qualities as qualities_of
from palu.reporting.verdict import draws


def qualities(study):
    return qualities_of(study, draws(study))


def test_an_arms_statistic_has_seeds_interval_and_neighbours(small_index):
    study = collect(small_index)
    found = qualities(study)["palu"]
    values = sorted(run.evaluation.measured("forget_quality_statistic").value for run in study.arms[0].runs)
    assert sorted(found.statistics) == values
    assert found.mean == pytest.approx(sum(values) / 2)
    assert found.interval[0] <= found.mean <= found.interval[1]
    # of two seeds the worse is the median
    assert found.median.here.statistic == pytest.approx(values[1])
    assert found.item_count == 12
    assert found.missing is None


def test_the_neighbours_p_values_are_on_either_side_of_the_summarys(small_index):
    study = collect(small_index)
    found = qualities(study)["npo"].median
    values = {run.evaluation.measured("forget_quality").value for run in study.arms[1].runs}
    assert any(found.here.p_value == pytest.approx(value, rel=1e-9) for value in values)
    assert found.larger.p_value < found.here.p_value <= found.smaller.p_value


def test_a_summary_that_its_items_contradict_is_reported_and_gets_no_interval(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_quality_statistic": 0.9})
    found = qualities(collect(small_index))["palu"]
    assert "summary.json says forget_quality_statistic = 0.9, its items give" in found.missing
    assert (found.interval, found.median, found.tied) == (None, None, ())
    assert found.statistics


def test_without_a_retain_model_the_reason_is_in_place_of_the_numbers(small_index):
    small_index["retain"] = None
    found = qualities(collect(small_index))["palu"]
    assert found.interval is None
    assert "retain model's items are not here" in found.missing


def test_one_seed_without_a_statistic_leaves_the_arm_without_one(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_quality_statistic": None})
    found = qualities(collect(small_index))
    assert found["palu"].mean is None
    assert "no reason was given" in found["palu"].missing
    assert best(found) == ["npo"]


def test_best_is_the_lowest_mean_and_those_tied_with_it():
    means, tied = {"a": 0.30, "b": 0.10, "c": 0.15, "d": 0.16}, {"a": "d", "b": "c", "c": "b", "d": "a"}
    assert best({name: Quality((mean,), tied=(tied[name],)) for name, mean in means.items()}) == ["b", "c"]
    assert best({"a": Quality(missing="none")}) == []


def test_arms_with_the_same_items_are_tied_and_arms_that_are_far_apart_are_not(builder):
    found = qualities(collect(builder.index(seeds=1, rivals=("npo", "gd"))))
    assert {name: its.tied for name, its in found.items()} == {"palu": ("npo",), "npo": ("palu",), "gd": ()}


def test_a_quality_in_words_has_d_its_spread_interval_p_neighbours_and_ties(small_index):
    its = qualities(collect(small_index))["palu"]
    near = " and ".join(p_text(point.p_value) for point in (its.median.smaller, its.median.larger))
    assert its.words == (
        f"D = {its.mean:.3f} ± {number_text(deviation(its.statistics))} over 2 seeds, "
        f"95% interval [{its.interval[0]:.3f}, {its.interval[1]:.3f}]; "
        f"p = {p_text(its.median.here.p_value)} (median seed, one item away {near}); tied with npo"
    )


def test_a_quality_in_words_says_what_is_missing_and_why():
    assert Quality(missing="no retain model").words == "no D: no retain model"
    assert Quality((0.25,), missing="no items").words == "D = 0.250 (1 seed, no spread); no items"
