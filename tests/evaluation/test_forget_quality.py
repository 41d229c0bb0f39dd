import math

import pytest

from palu.evaluation import forget_quality
from palu.evaluation.base import Missing, Scope

KINDS = frozenset({("forget", "original"), ("forget", "perturbed")})


def quality(model, retain):
    """Forget quality of two lists of truth ratios."""
    items, others = ({"forget_truth_ratio": {str(i): v for i, v in enumerate(values)}} for values in (model, retain))
    return forget_quality.summary(items, Scope("made-up", KINDS, others))


def test_samples_apart_have_the_smallest_p_value_there_is():
    # two samples of 4 that do not mix: 2 of the 8! / (4! 4!) = 70 orders are as extreme
    found = quality([0.1, 0.2, 0.3, 0.4], [0.6, 0.7, 0.8, 0.9])
    assert found["forget_quality"] == pytest.approx(2 / 70)
    assert found["forget_quality_statistic"] == 1


def test_equal_samples_have_p_value_one_also_with_ties():
    found = quality([0.5, 0.5, 0.1], [0.1, 0.5, 0.5])
    assert found["forget_quality"] == 1
    assert found["forget_quality_statistic"] == 0


def test_one_item_each_says_nothing():
    assert quality([0.1], [0.9])["forget_quality"] == 1


def test_the_statistic_is_the_largest_distance_between_the_distribution_functions():
    assert quality([0.1, 0.2, 0.8, 0.9], [0.3, 0.4, 0.85, 0.95])["forget_quality_statistic"] == 0.5


def test_without_a_retain_model_there_is_no_forget_quality():
    items = {"forget_truth_ratio": {"a": 0.5}}
    summary = forget_quality.summary(items, Scope("made-up", KINDS))
    reason = Missing("no scores of a retain model were given")
    assert summary == dict.fromkeys(forget_quality.NAMES, reason)


def test_the_interval_holds_the_statistic_and_says_so_in_a_line():
    model, retain = [i / 50 for i in range(50)], [0.3 + i / 50 for i in range(50)]
    found = quality(model, retain)
    assert 0 < found["forget_quality_statistic_low"] < found["forget_quality_statistic"]
    assert found["forget_quality_statistic"] < found["forget_quality_statistic_high"] < 1
    items, others = ({"forget_truth_ratio": dict(enumerate(values))} for values in (model, retain))
    line = forget_quality.describe(found, items, Scope("made-up", KINDS, others))
    assert f"D = {found['forget_quality_statistic']:.3f}" in line
    assert "one step away" in line


def test_items_of_another_set_give_neither_a_p_value_nor_a_statistic_nor_an_interval():
    items, others = {"forget_truth_ratio": {"a": 0.5, "b": 0.6}}, {"forget_truth_ratio": {"c": 0.5, "d": 0.6}}
    found = forget_quality.summary(items, Scope("made-up", KINDS, others))
    reason = Missing("the 2 forget items are not those of the retain model's 2")
    assert found == dict.fromkeys(forget_quality.NAMES, reason)


@pytest.mark.parametrize(
    ("model", "retain", "reason"),
    [
        (
            [0.5, math.nan],
            [0.5],
            "model: 1 of 2 forget truth ratio values cannot be had; the first: 1: the value is nan",
        ),
        ([0.5], [Missing("no")], "retain model: 1 of 1 forget truth ratio values cannot be had; the first: 0: no"),
        ([0.5], [], "retain model: no item has a value of forget truth ratio"),
    ],
)
def test_a_truth_ratio_that_cannot_be_had_leaves_no_forget_quality(model, retain, reason):
    assert set(quality(model, retain).values()) == {Missing(reason)}
