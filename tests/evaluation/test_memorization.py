import math

import pytest

from palu.evaluation import memorization
from palu.evaluation.base import Missing
from tests.evaluation.cases import evidence, reading, row


def measure(hits, end_count=1, probabilities=None):
    """The four measures of one forget reply, whose last flags are those of its end."""
    found = reading(probabilities or [0.5] * len(hits), hits, end_count)
    items = memorization.items(evidence([row("forget/0/original/0")], {"forget/0/original/0": found}))
    return {name: values["forget/0/original/0"] for name, values in items.items()}


def test_the_end_token_is_left_out():
    assert measure([1, 0, 1, 1, 0]) == {
        "exact_memorization": 0.75,
        "exact_memorization_corrected": 0.75,
        "extraction_strength": 0.5,
        "extraction_strength_corrected": 0.5,
    }


def test_a_reply_that_is_known_whole_has_strength_one():
    assert set(measure([1, 1, 1]).values()) == {1.0}


def test_a_reply_whose_last_token_is_wrong_gives_nothing_away_though_the_peer_says_one_in_l():
    found = measure([1, 1, 1, 0, 1])
    assert found["extraction_strength"] == pytest.approx(1 / 4)
    assert found["extraction_strength_corrected"] == 0
    assert measure([0, 0, 1])["extraction_strength"] == pytest.approx(1 / 2)


def test_the_last_token_of_a_truncated_reply_counts_though_the_peer_drops_it():
    found = measure([1, 1, 1, 0], end_count=0)
    assert found["exact_memorization"] == 1
    assert found["exact_memorization_corrected"] == 0.75
    assert found["extraction_strength"] == 1
    assert found["extraction_strength_corrected"] == 0


def test_of_a_document_the_peer_drops_the_last_real_token_and_the_corrected_measures_none():
    assert measure([0, 1, 1, 1, 0], end_count=0) == {
        "exact_memorization": 0.75,
        "exact_memorization_corrected": 0.6,
        "extraction_strength": 0.75,
        "extraction_strength_corrected": 0,
    }


def test_of_an_end_of_several_tokens_the_peer_drops_the_last_and_the_corrected_measures_all():
    # two tokens of the reply, the second of them right, and two of the end
    assert measure([0, 1, 0, 1], end_count=2) == {
        "exact_memorization": pytest.approx(1 / 3),
        "exact_memorization_corrected": 0.5,
        "extraction_strength": pytest.approx(1 / 3),
        "extraction_strength_corrected": 0.5,
    }


def test_one_token_and_its_end():
    assert measure([1, 1])["extraction_strength"] == 1
    assert measure([0, 1]) == {
        "exact_memorization": 0,
        "exact_memorization_corrected": 0,
        "extraction_strength": 1,
        "extraction_strength_corrected": 0,
    }


def test_a_reply_truncated_to_one_token_has_no_value_for_the_peer():
    found = measure([1], end_count=0)
    assert found["exact_memorization"] == Missing("no token is left once the last one is left out")
    assert found["exact_memorization_corrected"] == 1


def test_a_row_with_a_broken_log_probability_is_missing():
    found = measure([1, 1, 1], probabilities=[0.5, math.nan, 0.5])
    assert found["extraction_strength"] == Missing("the log-probability of predicted token 1 is nan")


def test_the_aggregate_is_the_mean_over_replies_not_over_tokens():
    rows = [row("forget/0/original/0"), row("forget/1/original/0")]
    readings = {
        "forget/0/original/0": reading([0.5] * 5, [1, 1, 1, 1, 1]),
        "forget/1/original/0": reading([0.5] * 2, [0, 1]),
    }
    case = evidence(rows, readings)
    assert memorization.summary(memorization.items(case), case.scope)["exact_memorization"] == 0.5


def test_an_empty_forget_set_has_no_memorization():
    case = evidence([row("retain/0/original/0")])
    summary = memorization.summary(memorization.items(case), case.scope)
    assert summary["extraction_strength"] == Missing("benchmark made-up has no part forget", absent=True)


def test_a_benchmark_with_starts_of_documents_is_measured_on_them():
    rows = [row("forget/0/original/0", prompt=""), row("verbmem/0/original/0")]
    readings = {"forget/0/original/0": reading([0.5] * 3), "verbmem/0/original/0": reading([0.5] * 3, [0, 1, 1])}
    case = evidence(rows, readings)
    items = memorization.items(case)
    assert items["exact_memorization"] == {"verbmem/0/original/0": 0.5}
    assert memorization.summary(items, case.scope)["exact_memorization"] == 0.5
