import math
import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from palu.evaluation import rouge
from palu.evaluation.base import DOCUMENT, Missing
from tests.evaluation.cases import evidence, reading, row


def test_recall_counts_the_true_words_that_come_in_order():
    # true: ann live(s) in oslo; found: oslo is where ann lives -> ann live = 2 of 4
    found = rouge.overlap("Oslo is where Ann lives.", "Ann lives in Oslo")
    assert found.rougeL_recall == 2 / 4
    assert found.rougeL_f1 == pytest.approx(2 * (2 / 4) * (2 / 5) / (2 / 4 + 2 / 5))
    assert found.rouge1_recall == 3 / 4


def test_words_are_stemmed_and_stripped_of_all_but_letters_and_digits():
    assert rouge.words("The writers' WRITING — 3 times, über") == ["the", "writer", "write", "3", "time", "ber"]


@pytest.mark.parametrize(("generation", "reply"), [("", "Ann"), ("Ann", "?!"), ("", "")])
def test_a_text_without_words_has_no_overlap(generation, reply):
    assert rouge.overlap(generation, reply) == (0, 0, 0)


def test_overlap_equals_the_package_that_the_field_uses():
    draw = random.Random(0)
    vocabulary = [
        "the",
        "author",
        "authors",
        "writing",
        "novels",
        "novel",
        "1980",
        "Oslo's",
        "prize-winning",
        "Ann,",
        "is",
    ]
    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    for _ in range(200):
        true, found = (" ".join(draw.choices(vocabulary, k=draw.randrange(0, 90))) for _ in range(2))
        expected = scorer.score(true, found)
        assert rouge.overlap(found, true) == (
            expected["rouge1"].recall,
            expected["rougeL"].fmeasure,
            expected["rougeL"].recall,
        )


def test_items_compare_each_generation_with_the_original_and_the_paraphrased_reply():
    rows = [row("forget/0/original/0", reply="Ann Lee"), row("forget/0/paraphrase/0", reply="It is Lee")]
    case = evidence(rows, generations={"forget/0/original/0": "Ann Lee"})
    items = rouge.items(case)
    assert items["forget_rouge"] == {"forget/0/original/0": 1}
    assert items["rougeL_recall"] == {"forget/0/original/0": 1, "forget/0/paraphrase/0": 1 / 3}
    assert rouge.summary(items, case.scope)["forget_rouge"] == 1


def test_the_answer_to_a_paraphrased_question_is_compared_with_the_original_reply():
    rows = [row("forget/0/original/0", reply="Ann Lee"), row("forget/0/question/0", reply="Ann Lee")]
    case = evidence(rows, generations={"forget/0/original/0": "Ann Lee", "forget/0/question/0": "Ann"})
    summary = rouge.summary(rouge.items(case), case.scope)
    assert summary["forget_paraphrased_question_rouge"] == 0.5
    assert summary["forget_rouge"] == 1


def test_a_generation_that_was_not_made_and_one_of_a_collapsed_model_are_missing():
    rows = [row("forget/0/original/0"), row("forget/1/original/0")]
    case = evidence(rows, {"forget/1/original/0": reading([math.nan])}, {"forget/1/original/0": "Ann"})
    items = rouge.items(case)
    assert items["forget_rouge"] == {
        "forget/0/original/0": Missing("forget/0/original/0 was not asked"),
        "forget/1/original/0": Missing("the log-probability of predicted token 0 is nan"),
    }
    assert isinstance(rouge.summary(items, case.scope)["forget_rouge"], Missing)


def test_documents_have_no_answer_and_stay_out_of_the_mean_unless_all_are_such():
    rows = [row("forget/0/original/0", prompt="", reply="Ann Lee"), row("forget/1/original/0", reply="Ann Lee")]
    case = evidence(rows, generations={"forget/1/original/0": "Ann"})
    items = rouge.items(case)
    assert items["forget_rouge"] == {"forget/0/original/0": DOCUMENT, "forget/1/original/0": 0.5}
    assert rouge.summary(items, case.scope)["forget_rouge"] == 0.5
    alone = evidence([rows[0], row("forget/2/original/0", prompt="")])
    assert rouge.summary(rouge.items(alone), alone.scope)["forget_rouge"] == DOCUMENT
