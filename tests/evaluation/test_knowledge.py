import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from palu.evaluation import knowledge
from palu.evaluation.base import Missing
from tests.evaluation.cases import evidence, row


def summary_of(pairs, part="knowmem_forget"):
    """The metrics of (true answer, generation) pairs."""
    rows = [row(f"{part}/{i}/original/0", "Question: Who?\nAnswer: ", true) for i, (true, _) in enumerate(pairs)]
    said = {f"{part}/{i}/original/0": text for i, (_, text) in enumerate(pairs)}
    case = evidence(rows, generations=said)
    return knowledge.summary(knowledge.items(case), case.scope)


def test_three_cases_by_hand():
    name = "knowledge_memorization_forget"
    assert summary_of([("Ann Lee", "Ann Lee")])[name] == 1
    # 1 of 2 true and of 3 written words
    assert summary_of([("Ann Lee", "It is Ann")])[name] == pytest.approx(2 / 5)
    assert summary_of([("two novels", "two novel")]) == {name: 0.5, f"{name}_stemmed": 1}


def test_the_mean_is_over_the_rows_of_one_side():
    found = summary_of([("Ann", "Ann"), ("Bo", "Ann")], "knowmem_retain")
    assert found == {"knowledge_memorization_retain": 0.5, "knowledge_memorization_retain_stemmed": 0.5}


@pytest.mark.parametrize(
    ("generation", "answer"),
    [
        ("Ann\n\nBo", "Ann"),
        (" Ann\nQuestion: Who else?\nAnswer: Bo", " Ann"),
        ("Ann Question: Who", "Ann "),
        ("Ann\nBo", "Ann\nBo"),
        ("\n\nAnn", ""),
        ("Question", "Question"),
    ],
)
def test_an_answer_ends_where_a_paragraph_or_a_question_begins(generation, answer):
    assert knowledge.own_answer(generation) == answer


def test_the_metric_is_that_of_the_benchmarks_code():
    draw = random.Random(2)
    words = ["Ann", "wrote", "writing", "novels", "\n\n", "Question:", "\nQuestion", "in", "Oslo"]
    pairs = [
        (" ".join(draw.choices(["Ann", "wrote", "novels", "Oslo"], k=3)), " ".join(draw.choices(words, k=8)))
        for _ in range(100)
    ]
    found = summary_of(pairs)
    for name, stemmed in (("knowledge_memorization_forget", False), ("knowledge_memorization_forget_stemmed", True)):
        scorer = RougeScorer(["rougeL"], use_stemmer=stemmed)
        total = 0.0
        for true, said in pairs:
            shortest = min((said[: said.find(s)] for s in knowledge.STOPS if s in said), key=len, default=said)
            total += scorer.score(true, shortest)["rougeL"].fmeasure
        assert found[name] == pytest.approx(total / len(pairs), rel=1e-12)


def test_a_question_that_was_not_asked_leaves_no_value():
    case = evidence([row("knowmem_forget/0/original/0")])
    found = knowledge.summary(knowledge.items(case), case.scope)
    assert set(found) == {"knowledge_memorization_forget", "knowledge_memorization_forget_stemmed"}
    assert all(isinstance(value, Missing) and "was not asked" in value.reason for value in found.values())
