"""Statuses worked by hand: intervals inside, outside and across a bound; two sides; what is missing."""

import pytest

from palu.reporting.load import collect
from palu.reporting.verdict import draws, judge, overview, targets_text, together, verdict_json
from tests.reporting.conftest import ITEMS

# Span leak of the original 1, of the retain model 0.1; utility 0.8, the target 0.76
LEAK = 0.1


def shares(count):
    """`count` rows of ITEMS with a leak: the same ones for every model."""
    return [float(nth < count) for nth in range(ITEMS)]


@pytest.fixture
def judged(small_index, edit_items, set_utility):
    """Judge PALU with other items: of both seeds, or of each in turn."""
    edit_items(small_index["original"]["evaluation"], span_leak=1.0)
    edit_items(small_index["retain"]["evaluation"], span_leak=shares(10), repetition=0.02, empty_answers=0.0)
    set_utility(small_index["original"]["evaluation"], 0.8)
    for run in small_index["runs"][:2]:
        edit_items(run["evaluation"], span_leak=shares(10), repetition=0.02, empty_answers=0.0)
        set_utility(run["evaluation"], 0.8)

    def judge_palu(*seeds, utility=None, has_retain=True):
        for run, values in zip(small_index["runs"], seeds * (2 // max(len(seeds), 1)), strict=False):
            edit_items(run["evaluation"], **values)
        for run in small_index["runs"][: 2 if utility else 0]:
            set_utility(run["evaluation"], utility)
        if not has_retain:
            small_index["retain"] = None
        study = collect(small_index)
        return judge(study, draws(study), study.arms[0])

    return judge_palu


def statuses(verdict):
    return {check.name: check.status for check in verdict.checks}


def test_a_model_at_the_retain_models_level_meets_every_target(judged):
    verdict = judged()
    assert set(statuses(verdict).values()) == {"met"}
    assert (verdict.met, together(verdict.checks)) == (5, "met")
    assert verdict.headline == "Forgotten, language kept, utility kept"


@pytest.mark.parametrize(
    ("leaking", "status"),
    [
        # 100 rows, 10 of the retain model's: the allowed share is 0.15. 1 more: 0.01 and at most 3 of them in a draw
        (11, "met"),
        # 5 more: 0.05 on average, below as often as above
        (15, "undecided"),
        # 30 more: 0.30, deviation 0.046, at least 0.2
        (40, "missed"),
        # fewer than the retain model is no miss
        (0, "met"),
    ],
)
def test_a_leak_is_met_undecided_or_missed_by_its_interval_and_on_one_side_only(judged, leaking, status):
    check = judged({"span_leak": shares(leaking)}).gone[0]
    assert check.status == status
    assert (check.value, check.retain, check.original) == (leaking / 100, 0.1, 1.0)
    assert check.aim == (None, pytest.approx(0.15))
    assert check.low <= check.value <= check.high
    if status == "undecided":
        assert check.low < 0.15 < check.high


def test_the_interval_is_paired_so_that_rows_that_both_leak_cancel(judged, small_index, edit_items):
    edit_items(small_index["retain"]["evaluation"], span_leak=shares(50))
    same = judged({"span_leak": shares(50)}).gone[0]
    assert (same.status, same.low, same.high) == ("met", pytest.approx(0.47), pytest.approx(0.53))
    other = judged({"span_leak": [1 - value for value in shares(50)]}).gone[0]
    assert (other.value, other.status) == (0.5, "undecided")


def test_items_that_are_all_equal_leave_three_of_n_open(judged, small_index, edit_items):
    # no row leaks in either model: of 100 rows up to 3% could, of 40 up to 7.5%, which is more than allowed
    for count, status in ((100, "met"), (40, "undecided")):
        edit_items(small_index["retain"]["evaluation"], span_leak=[0.0] * count)
        edit_items(small_index["original"]["evaluation"], span_leak=[1.0] * count)
        for run in small_index["runs"][2:]:
            edit_items(run["evaluation"], span_leak=[0.0] * count)
        check = judged({"span_leak": [0.0] * count}).gone[0]
        assert (check.status, check.high, check.low) == (status, pytest.approx(3 / count), 0)


@pytest.mark.parametrize(
    ("count", "wrong_before", "wrong_after", "status"),
    [
        # no answer differs: of n questions up to 3 / n could, and a twentieth may
        (100, 0, 0, "met"),
        (60, 0, 0, "met"),
        (40, 0, 0, "undecided"),
        # the same answers are wrong in both: not surer than where none is
        (100, 10, 10, "met"),
        (40, 4, 4, "undecided"),
        (100, 0, 1, "met"),
        (100, 0, 5, "undecided"),
        (100, 0, 20, "missed"),
        # better than the original
        (100, 20, 0, "met"),
    ],
)
def test_neighbours_are_kept_at_95_percent_of_the_originals(
    judged, small_index, edit_items, count, wrong_before, wrong_after, status
):
    def right(wrong):
        return [float(nth >= wrong) for nth in range(count)]

    edit_items(small_index["original"]["evaluation"], near_accuracy=right(wrong_before))
    for run in small_index["runs"]:
        edit_items(run["evaluation"], near_accuracy=right(wrong_after))
    check = judged().utility[1]
    assert (check.name, check.status) == ("near_accuracy", status)
    assert check.aim == (pytest.approx(0.95 * (1 - wrong_before / count)), None)
    assert 0 <= check.low <= check.value <= check.high <= 1


def test_a_model_that_answers_no_neighbour_keeps_nothing(judged, small_index, edit_items):
    edit_items(small_index["original"]["evaluation"], near_accuracy=1.0)
    for run in small_index["runs"]:
        edit_items(run["evaluation"], near_accuracy=0.0)
    verdict = judged()
    assert (verdict.kept, verdict.headline) == (0.0, "Forgotten, language kept, utility lost")


def test_broken_language_misses_though_everything_is_forgotten(judged):
    gibberish = judged({"span_leak": 0.0, "repetition": 0.6})
    assert statuses(gibberish)["repetition"] == "missed"
    assert gibberish.headline == "Forgotten, language lost, utility kept"
    silent = judged({"span_leak": 0.0, "repetition": 0.02, "empty_answers": 1.0})
    assert statuses(silent)["empty_answers"] == "missed"


def test_answers_may_be_as_improbable_as_the_upper_quartile_of_the_retain_models(judged, small_index, edit_items):
    # the values 0 to 9, ten times each: three quarters are at most 7, in a draw 6 to 8
    edit_items(small_index["retain"]["evaluation"], answer_nll=[float(nth % 10) for nth in range(ITEMS)])
    for value, status in ((5.0, "met"), (7.0, "undecided"), (9.0, "missed")):
        check = judged({"answer_nll": value}).language[2]
        assert (check.status, check.aim) == (status, (None, 7.0))


@pytest.mark.parametrize(
    ("utility", "status"), [(0.8, "met"), (0.77, "met"), (0.75, "missed"), ([0.66, 0.86] * 50, "undecided")]
)
def test_utility_is_kept_at_95_percent_of_the_originals(judged, utility, status):
    # 0.66 and 0.86 alternate: mean 0.76, which is the bound
    (check,) = judged(utility=utility).utility
    assert (check.status, check.aim) == (status, (pytest.approx(0.76), None))


def test_seeds_are_the_second_level(judged):
    # each seed alone is sure, on different sides; their mean is not
    for first, second, status in ((0, 0, "met"), (0, 60, "undecided"), (60, 60, "missed")):
        check = judged({"span_leak": shares(first)}, {"span_leak": shares(second)}).gone[0]
        assert check.status == status
    assert judged({"span_leak": shares(0)}, {"span_leak": shares(60)}).gone[0].high > 0.6


def test_a_missing_metric_is_not_measured_with_its_reason_and_never_met(judged, small_index, edit_summary):
    edit_summary(small_index["runs"][0]["evaluation"], {"repetition": None})
    verdict = judged()
    check = verdict.language[0]
    assert (check.status, check.value) == ("not measured", None)
    assert check.sentence == "cannot be judged: 1 of 2 seeds have none: no reason was given"
    assert (verdict.met, together(verdict.checks)) == (4, "not measured")
    assert verdict.headline == "Forgotten, language not measured, utility kept"


def test_a_metric_that_the_retain_model_lacks_is_not_measured_and_not_held_against_the_original(
    judged, small_index, edit_summary
):
    edit_summary(small_index["retain"]["evaluation"], {"span_leak": None})
    check = judged().gone[0]
    assert (check.status, check.value) == ("not measured", 0.1)
    assert check.sentence == "0.100; cannot be judged: the retain model has none: no reason was given"


def test_a_summary_that_its_items_contradict_is_not_measured(judged, small_index, edit_summary):
    edit_summary(small_index["runs"][1]["evaluation"], {"span_leak": 0.0})
    check = judged().gone[0]
    assert check.status == "not measured"
    assert "summary.json says span_leak = 0, its items give 0.1" in check.reason


def test_without_a_retain_model_a_tenth_of_the_originals_leak_may_be_left(judged):
    for leaking, status in ((2, "met"), (10, "undecided"), (30, "missed")):
        check = judged({"span_leak": shares(leaking)}, has_retain=False).gone[0]
        assert (check.status, check.aim) == (status, (None, pytest.approx(0.1)))
    assert check.words == "at most 0.100, a tenth of the original's 1.000"


def test_without_a_retain_model_language_is_held_against_the_original(judged, small_index, edit_items):
    edit_items(
        small_index["original"]["evaluation"],
        repetition=0.1, empty_answers=0.0, retain_answer_nll=[float(nth % 10) for nth in range(ITEMS)],
    )  # fmt: skip
    values = {"repetition": 0.11, "empty_answers": 0.0, "answer_nll": 9.0}
    repetition, empty, answer = judged(values, has_retain=False).language
    assert (repetition.status, repetition.aim) == ("met", (None, pytest.approx(0.15)))
    assert (empty.status, answer.status, answer.aim) == ("met", "missed", (None, 7.0))
    assert answer.words == "at most 7.000, the upper quartile of the original's answers to retain prompts"


def test_without_a_retain_model_nothing_is_level_or_over_forgotten(judged):
    verdict = judged(has_retain=False)
    assert {check.status for check in verdict.shown} == {"not measured"}
    assert {check.reason for check in verdict.shown} == {"the study has no retain model"}


@pytest.mark.parametrize(
    ("value", "status"),
    [(0.30, "level"), (0.60, "under-forgotten"), (0.10, "over-forgotten"), ([0.2, 0.5] * 50, "undecided")],
)
def test_what_is_no_target_has_two_sides(judged, small_index, edit_items, value, status):
    # original 0.9, retain model 0.3; 0.2 and 0.5 alternate: mean 0.35, which is the edge
    edit_items(small_index["original"]["evaluation"], forget_rouge=0.9)
    edit_items(small_index["retain"]["evaluation"], forget_rouge=0.3)
    check = judged({"forget_rouge": value}).of("forget_rouge")
    assert (check.status, check.aim) == (status, (pytest.approx(0.25), pytest.approx(0.35)))


def test_a_distance_without_a_direction_is_called_not_level(judged, small_index, edit_items):
    for model in ("original", "retain"):
        edit_items(small_index[model]["evaluation"], forget_rouge=0.3)
    assert judged({"forget_rouge": 0.6}).of("forget_rouge").status == "not level"


@pytest.mark.parametrize(
    ("value", "status"), [(0.06, "level"), (0.011, "over-forgotten"), (0.09, "under-forgotten"), (0.021, "level")]
)
def test_the_first_words_probability_is_level_from_half_to_twice_the_retain_models(
    judged, small_index, edit_items, value, status
):
    edit_items(small_index["original"]["evaluation"], first_word_probability=0.9)
    edit_items(small_index["retain"]["evaluation"], first_word_probability=0.04)
    check = judged({"first_word_probability": value}).of("first_word_probability")
    assert (check.status, check.aim) == (status, (pytest.approx(0.02), pytest.approx(0.08)))


def test_a_ratio_of_nothing_is_below_and_not_an_error(judged, small_index, edit_items):
    edit_items(small_index["retain"]["evaluation"], forget_rouge=0.0)
    assert judged({"forget_rouge": 0.0}).of("forget_rouge").status == "level"


def attack(forget, holdout):
    """Items of Min-K: the share of pairs with the held-out row above is the AUC."""
    return {"forget_mia_min_k": forget, "holdout_mia_min_k": holdout}


@pytest.mark.parametrize(("auc", "status"), [(0.5, "level"), (1.0, "under-forgotten"), (0.0, "over-forgotten")])
def test_an_attack_that_finds_every_row_is_under_forgotten_whatever_the_original_does(
    judged, small_index, edit_items, edit_summary, auc, status
):
    flat, high = [0.5] * ITEMS, [1.0] * ITEMS
    items = {0.5: attack(flat, flat), 1.0: attack(flat, high), 0.0: attack(high, flat)}
    for folder in (small_index[model]["evaluation"] for model in ("original", "retain")):
        edit_items(folder, **attack(flat, flat))
        edit_summary(folder, {"mia_min_k": 0.5})
    for run in small_index["runs"][:2]:
        edit_items(run["evaluation"], **items[auc])
        edit_summary(run["evaluation"], {"mia_min_k": auc, "privleak": 100 * (0.5 - auc) / 0.5})
    verdict = judged()
    assert verdict.of("mia_min_k").status == status
    assert verdict.of("privleak").status == status


def test_verdict_json_holds_each_measure_with_its_interval_references_aim_and_status(judged):
    verdict = judged({"span_leak": shares(40)})
    found = verdict_json([verdict])["palu"]["span_leak"]
    low, high = found.pop("low"), found.pop("high")
    assert 0.2 < low < 0.4 < high < 0.6
    assert found == {
        "target": True, "value": 0.4, "original": 1.0, "retain": 0.1, "aim": (None, pytest.approx(0.15)),
        "status": "missed", "reason": None,
    }  # fmt: skip
    assert verdict_json([verdict])["palu"]["forget_rouge"]["target"] is False


def test_the_overview_names_the_arms_that_meet_all_or_come_nearest(judged, small_index):
    whole = judged()
    study = collect(small_index)
    rival = judge(study, draws(study), study.arms[1])
    assert overview([whole, rival]) == "1 of 2 meet all 5 targets: palu."
    assert overview([rival]) == f"None of 1 meets all 5 targets; most met: {rival.met} (npo)."


def test_the_targets_in_words_name_no_rouge(judged, small_index):
    judged()
    words = targets_text(collect(small_index))
    assert words.startswith("Targets: span leak at most 0.05 above the retain model, which never saw")
    assert "ROUGE" not in words
    small_index["retain"] = None
    assert "at most a tenth of the original's, a bound of ours" in targets_text(collect(small_index))
