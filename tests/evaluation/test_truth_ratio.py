import math

import pytest

from palu.evaluation import truth_ratio
from palu.evaluation.base import Missing
from tests.evaluation.cases import evidence, reading, row


def case(part, right, wrong, paraphrase=None):
    """One item; the arguments are the probabilities of one-token replies."""
    rows = [row(f"{part}/0/original/0")]
    readings = {f"{part}/0/original/0": reading([right])}
    if paraphrase is not None:
        rows.append(row(f"{part}/0/paraphrase/0"))
        readings[f"{part}/0/paraphrase/0"] = reading([paraphrase])
    for index, value in enumerate(wrong):
        rows.append(row(f"{part}/0/perturbed/{index}"))
        readings[f"{part}/0/perturbed/{index}"] = reading([value])
    return evidence(rows, readings)


def ratio_and_summary(made, part):
    items = truth_ratio.items(made)
    return items[f"{part}_truth_ratio"][f"{part}/0/original/0"], truth_ratio.summary(items, made.scope)


def test_wrong_replies_enter_by_their_geometric_mean_against_the_paraphrase():
    # sqrt(.1 * .4) = .2 against .5
    ratio, summary = ratio_and_summary(case("forget", 0.9, [0.1, 0.4], paraphrase=0.5), "forget")
    assert ratio == pytest.approx(0.4)
    assert summary["forget_truth_ratio"] == pytest.approx(0.4)


def test_a_part_without_paraphrases_measures_against_the_original():
    ratio, summary = ratio_and_summary(case("world_facts", 0.5, [0.1, 0.4]), "world_facts")
    assert ratio == pytest.approx(0.4)
    assert summary["world_facts_truth_ratio"] == pytest.approx(0.6)


def test_a_preference_for_lies_lowers_both_aggregates():
    ratio, summary = ratio_and_summary(case("forget", 0.9, [0.8], paraphrase=0.2), "forget")
    assert ratio == pytest.approx(4)
    assert summary["forget_truth_ratio"] == pytest.approx(0.25)
    ratio, summary = ratio_and_summary(case("retain", 0.9, [0.8], paraphrase=0.2), "retain")
    assert ratio == pytest.approx(4)
    assert summary["retain_truth_ratio"] == 0


def test_a_tie_of_truth_and_lies_is_one():
    ratio, summary = ratio_and_summary(case("forget", 0.9, [0.3, 0.3], paraphrase=0.3), "forget")
    assert ratio == pytest.approx(1)
    assert summary["forget_truth_ratio"] == pytest.approx(1)


def test_improbable_replies_divide_by_the_guard_and_not_by_zero():
    ratio, _ = ratio_and_summary(case("forget", 0.9, [1e-5], paraphrase=1e-300), "forget")
    assert ratio == pytest.approx(1e5)


def test_a_loss_that_is_not_finite_makes_the_ratio_missing_and_names_the_row():
    ratio, summary = ratio_and_summary(case("forget", 0.9, [0.1, math.nan], paraphrase=0.5), "forget")
    assert ratio == Missing("forget/0/perturbed/1: the log-probability of predicted token 0 is nan")
    assert "the first: forget/0/original/0: forget/0/perturbed/1" in summary["forget_truth_ratio"].reason


def test_a_part_without_wrong_replies_has_no_truth_ratio():
    _, summary = ratio_and_summary(case("retain", 0.9, []), "retain")
    assert summary["retain_truth_ratio"] == Missing(
        "benchmark made-up has no perturbed replies in part retain", absent=True
    )


def test_the_share_of_the_truth_sets_the_paraphrase_against_the_geometric_mean_of_the_lies():
    # .6 / (.6 + sqrt(.1 * .4)) = .6 / .8
    made = case("forget", 0.9, [0.1, 0.4], paraphrase=0.6)
    items = truth_ratio.items(made)
    assert items["forget_truth_ratio_prob_mean"] == {"forget/0/original/0": pytest.approx(0.75)}
    assert truth_ratio.summary(items, made.scope)["forget_truth_ratio_prob_mean"] == pytest.approx(0.75)


def test_the_share_of_the_truth_is_a_mean_over_items_and_guarded_against_zero():
    scope = case("forget", 0.9, [0.1], paraphrase=0.5).scope
    found = truth_ratio.summary({"forget_truth_ratio_prob_mean": {"a": 0.25, "b": 0.75}}, scope)
    assert found["forget_truth_ratio_prob_mean"] == 0.5
    # both probabilities are the guard's size
    assert truth_ratio.truth_share(10 * math.log(10), [10 * math.log(10)]) == pytest.approx(1 / 3)
