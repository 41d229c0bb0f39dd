import math

import pytest

from palu.evaluation import fluency
from palu.evaluation.base import DOCUMENT, Missing
from tests.evaluation.cases import evidence, row

ROWS = [row("forget/0/original/0"), row("forget/1/original/0")]


def summary(texts):
    generations = dict(zip((r["example_id"] for r in ROWS), texts, strict=False))
    found = evidence(ROWS, generations=generations)
    return fluency.summary(fluency.items(found), found.scope)


def test_four_words_without_repetition():
    # three 2-grams and two 3-grams, each once
    found = summary(["one two three four", "one two three four"])
    assert found["forget_ngram_entropy"] == pytest.approx(2 / 3 * math.log2(3) + 4 / 3 * 1)
    assert found["repetition"] == 0
    assert found["empty_answers"] == 0


def test_a_word_said_again_and_again_has_no_entropy():
    found = summary(["no no no no no", "No, no! NO no no"])
    assert found["forget_ngram_entropy"] == 0
    # of two 4-grams one is new
    assert found["repetition"] == 0.5


def test_generations_that_are_too_short_stay_out_and_empty_ones_are_counted():
    found = summary(["", "one two three four"])
    assert found["empty_answers"] == 0.5
    assert found["repetition"] == 0
    found = summary(["...", "yes"])
    assert found["forget_ngram_entropy"] == Missing(
        "no item has a value of n-gram entropy (generations of 3 words or more)"
    )
    assert found["empty_answers"] == 0.5


def test_fluency_is_null_without_a_classifier_and_says_which_setting_names_one():
    assert summary(["a", "b"])["fluency"] == Missing("no classifier was asked (evaluation.fluency.classifier)")


def test_a_generation_that_is_not_there_is_missing_and_no_zero():
    found = summary(["one two three four"])
    assert "forget/1/original/0 was not asked" in found["repetition"].reason


def test_a_benchmark_with_starts_of_documents_is_judged_on_how_the_model_goes_on():
    rows = [row("forget/0/original/0", prompt=""), row("verbmem/0/original/0")]
    case = evidence(rows, generations={"verbmem/0/original/0": "one two three four"})
    items = fluency.items(case)
    assert set(items["repetition"]) == {"verbmem/0/original/0"}
    assert fluency.summary(items, case.scope)["empty_answers"] == 0


def test_documents_alone_leave_fluency_without_a_value():
    case = evidence([row(f"forget/{i}/original/0", prompt="") for i in range(2)])
    assert set(fluency.summary(fluency.items(case), case.scope).values()) == {DOCUMENT}
