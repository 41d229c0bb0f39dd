import pytest

from palu.reporting.cells import number_text, p_text
from palu.reporting.collect import collect
from palu.reporting.quality import Qualities, Quality
from palu.reporting.quality import qualities as qualities_of
from palu.reporting.statistics import spread
from palu.reporting.verdict import draws


def qualities(study):
    return qualities_of(study, draws(study))


def test_an_arms_statistic_has_spread_interval_and_neighbours(small_index):
    study = collect(small_index)
    found = qualities(study).arms["palu"]
    told = sorted(run.evaluation.measured("forget_quality_statistic").value for run in study.arms[0].runs)
    assert found.statistic.mean == pytest.approx(sum(told) / 2)
    assert found.interval[0] <= found.statistic.mean <= found.interval[1]
    # of two seeds the worse is the median
    assert found.median.here.statistic == pytest.approx(told[1])
    assert found.item_count == 12
    assert found.missing is None


def test_the_neighbours_p_values_are_on_either_side_of_the_summarys(small_index):
    study = collect(small_index)
    found = qualities(study).arms["npo"].median
    told = {run.evaluation.measured("forget_quality").value for run in study.arms[1].runs}
    assert any(found.here.p_value == pytest.approx(value, rel=1e-9) for value in told)
    assert found.larger.p_value < found.here.p_value <= found.smaller.p_value


def test_a_summary_that_its_items_contradict_is_reported_and_gets_no_interval(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_quality_statistic": 0.9})
    found = qualities(collect(small_index)).arms["palu"]
    assert "summary.json says forget_quality_statistic = 0.9, its items give" in found.missing
    assert found.interval is None
    assert found.median is None
    assert found.statistic is not None


def test_without_a_retain_model_the_reason_stands_for_the_numbers(small_index):
    small_index["retain"] = None
    found = qualities(collect(small_index))
    assert list(found.references) == ["original"]
    assert found.arms["palu"].interval is None
    assert "retain model's items are not here" in found.arms["palu"].missing


def test_one_seed_without_a_statistic_leaves_the_arm_without_one(small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"forget_quality_statistic": None})
    found = qualities(collect(small_index))
    assert found.arms["palu"].statistic is None
    assert found.arms["palu"].missing == "no reason was given"
    assert found.best() == ["npo"]


def named(**means):
    return {name: Quality(spread([value]), item_count=20) for name, value in means.items()}


def test_best_is_the_lowest_mean_and_those_tied_with_it():
    found = Qualities({}, named(a=0.30, b=0.10, c=0.15, d=0.16), (("b", "c"), ("a", "d")))
    assert found.best() == ["b", "c"]
    assert found.ties("d") == ["a"]
    assert Qualities({}, {"a": Quality(missing="none")}).best() == []


def test_arms_with_the_same_items_are_tied_and_arms_that_are_far_apart_are_not(builder):
    index = builder.index(seeds=1, rivals=("npo", "gd"))
    assert qualities(collect(index)).tied_pairs == (("palu", "npo"),)


def test_a_quality_in_words_has_d_its_spread_interval_p_and_neighbours(small_index):
    found = qualities(collect(small_index))
    its = found.arms["palu"]
    near = " and ".join(p_text(point.p_value) for point in (its.median.smaller, its.median.larger))
    assert its.words == (
        f"D = {its.statistic.mean:.3f} ± {number_text(its.statistic.deviation)} over 2 seeds, "
        f"95% interval [{its.interval[0]:.3f}, {its.interval[1]:.3f}]; "
        f"p = {p_text(its.median.here.p_value)} (median seed, one item away {near})"
    )


def test_a_quality_in_words_says_what_is_missing_and_why():
    assert Quality(missing="no retain model").words == "no D: no retain model"
    assert Quality(spread([0.25]), missing="no items").words == "D = 0.250 (1 seed, no spread); no items"


def test_an_arms_ties_are_in_its_cell_and_in_its_words():
    arms = named(a=0.10, b=0.15, c=0.20) | {"a very long name of an arm": Quality(spread([0.5])), "z": Quality()}
    found = Qualities({}, arms, (("a", "b"), ("b", "c"), ("a very long name of an arm", "z")))
    assert [found.tie(name) for name in arms] == ["tie: b", "tie with 2", "tie: b", "tie: z", "tie with 1"]
    assert found.words("a").endswith("; tied with b")
