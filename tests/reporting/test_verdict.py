import pytest

from palu.reporting.collect import collect
from palu.reporting.initiating import initiating
from palu.reporting.verdict import judge, overview

LEVELS = {"forget_initiating_probability": 0.06, "forget_rouge": 0.30, "model_utility": 0.80}


@pytest.fixture
def judged(small_index, edit_summary):
    """Set the measures of the original, the retain model and both seeds of PALU, and judge PALU."""

    def judge_palu(*seeds):
        original = {"forget_initiating_probability": 0.9, "forget_rouge": 0.9, "model_utility": 0.80}
        edit_summary(small_index["original"]["evaluation"], original)
        edit_summary(small_index["retain"]["evaluation"], LEVELS)
        for run, values in zip(small_index["runs"], seeds, strict=False):
            edit_summary(run["evaluation"], LEVELS | values)
        study = collect(small_index)
        return judge(study, study.arms[0], initiating(study).of(study, study.arms[0]))

    return judge_palu


def test_all_targets_met(judged):
    verdict = judged({}, {})
    assert (verdict.met, verdict.status) == (3, "met")
    assert verdict.headline == "Forgotten to the retain model's level, utility kept"
    rouge = verdict.checks[1]
    assert rouge.sentence == "0.300 (retain model 0.300, original 0.900): within 0.05; holds in 2 of 2 seeds"
    assert (
        verdict.checks[2].sentence
        == "0.800, 100.0% of the original's 0.800; target at least 95%; holds in 2 of 2 seeds"
    )


def test_the_mean_is_judged_and_the_seeds_are_counted(judged):
    verdict = judged({"forget_rouge": 0.37}, {"forget_rouge": 0.29})
    assert verdict.checks[1].status == "met"
    assert verdict.checks[1].sentence.endswith("within 0.05; holds in 1 of 2 seeds")


def test_too_little_forgotten_says_by_how_much(judged):
    verdict = judged({"forget_rouge": 0.5}, {"forget_rouge": 0.5})
    assert verdict.headline == "Not forgotten to the retain model's level, utility kept"
    assert "0.200 above, allowed 0.05: under-forgotten; holds in 0 of 2 seeds" in verdict.checks[1].sentence
    assert verdict.status == "missed"


def test_too_much_forgotten_is_a_miss_too(judged):
    verdict = judged({"forget_rouge": 0.1, "model_utility": 0.5}, {"forget_rouge": 0.1, "model_utility": 0.5})
    assert verdict.headline == "Over-forgotten, utility lost"
    assert "0.200 below, allowed 0.05: over-forgotten" in verdict.checks[1].sentence
    assert "62.5% of the original's 0.800" in verdict.checks[2].sentence


def test_the_utility_target_is_95_percent_of_the_originals(judged):
    assert judged({"model_utility": 0.76}, {"model_utility": 0.76}).checks[2].status == "met"
    assert judged({"model_utility": 0.7599}, {"model_utility": 0.7599}).checks[2].status == "missed"


def test_a_missing_measure_is_unknown_with_its_reason(judged):
    verdict = judged({"forget_initiating_probability": None}, {})
    assert verdict.checks[0].status == "unknown"
    assert verdict.checks[0].sentence == "cannot be judged: no reason was given"
    assert verdict.headline == "Forgetting cannot be judged in full, utility kept"
    assert verdict.status == "unknown"


def test_without_a_retain_model_levels_cannot_be_judged(small_index):
    small_index["retain"] = None
    study = collect(small_index)
    verdict = judge(study, study.arms[0], None)
    assert [check.status for check in verdict.checks] == ["unknown", "unknown", "met"]
    assert verdict.checks[1].sentence.endswith("cannot be judged: the study has no retain model")


def test_the_whole_reply_is_shown_with_what_a_perfectly_local_method_would_leave(judged):
    verdict = judged({}, {})
    assert verdict.aside.startswith("probability 0.6")
    assert verdict.aside.count("a perfectly local method ") == 2


def test_the_overview_names_who_meets_all_or_who_comes_nearest(judged, small_index):
    whole = judged({}, {})
    study = collect(small_index)
    rival = judge(study, study.arms[1], None)
    assert overview([whole, rival]) == "1 of 2 meet all 3 targets: palu."
    assert overview([rival]) == "None of 1 meets all 3 targets; most met: 1 (npo)."
