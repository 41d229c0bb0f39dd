import pytest

from palu import tables
from palu.evaluation import neighbours
from palu.evaluation.base import Missing, Scope
from palu.evaluation.evidence import EvidencePaths, gather
from palu.evaluation.infer import infer
from palu.evaluation.score import score
from palu.evaluation.settings import EvaluationSettings, FluencySettings
from palu.models import ModelSettings
from tests.evaluation.cases import evidence, row

ANN = row("near/0/original/0", prompt="Who went to Rome, and when?", reply="Ann Lee went to Rome in 1961.")
BOB = row("near/1/original/0", prompt="Where does Bob live?", reply="In Oslo.")
GOLD = row("far/0/original/0", prompt="What is the symbol of gold?", reply="Au.")
# Ann Lee | 1961, Oslo and Au
SPANS = {ANN["example_id"]: [(0, 7), (24, 28)], BOB["example_id"]: [(3, 7)], GOLD["example_id"]: [(0, 2)]}


def scored(*answers, gold=SPANS, rows=(ANN, BOB, GOLD)):
    said = {example["example_id"]: answer for example, answer in zip(rows, answers, strict=False)}
    case = evidence(list(rows), generations=said, gold=gold)
    items = neighbours.items(case)
    return items, neighbours.summary(items, case.scope)


def test_an_answer_is_right_where_it_contains_every_span_worked_by_hand():
    items, summary = scored("It was ann LEE, in 1961!", "In Oslofjord", "au")
    assert items == {
        "near_accuracy": {ANN["example_id"]: 1, BOB["example_id"]: 0},
        "far_accuracy": {GOLD["example_id"]: 1},
    }
    assert summary == {"near_accuracy": 0.5, "far_accuracy": 1}


@pytest.mark.parametrize(
    ("answer", "expected"), [("Ann Lee in 1962", 0), ("Lee Ann, 1961", 0), ("1961: Ann Lee", 1), ("", 0)]
)
def test_a_part_of_the_spans_is_not_enough_and_their_order_does_not_matter(answer, expected):
    assert scored(answer, rows=[ANN])[1] == {"near_accuracy": expected}


def test_a_span_that_the_question_has_counts_too():
    # the words Rome and 1961
    spans = {ANN["example_id"]: [(16, 20), (24, 28)]}
    assert scored("In 1961.", gold=spans, rows=[ANN])[1] == {"near_accuracy": 0}
    assert scored("Rome, in 1961.", gold=spans, rows=[ANN])[1] == {"near_accuracy": 1}


def test_the_evaluations_own_spans_have_no_say():
    case = evidence([BOB], generations={BOB["example_id"]: "In Oslo"}, spans={BOB["example_id"]: [(0, 2)]}, gold=SPANS)
    assert neighbours.items(case) == {"near_accuracy": {BOB["example_id"]: 1}}


def test_it_is_null_with_its_reason_where_a_question_cannot_be_judged():
    said = ("Ann Lee, 1961", "Oslo", "Au")
    lacking = scored(*said, gold={**SPANS, BOB["example_id"]: [(7, 8)]})[1]
    assert lacking["near_accuracy"] == Missing(
        "1 of 2 accuracy values cannot be had; the first: near/1/original/0: near/1/original/0 has no gold span with "
        "a word"
    )
    assert lacking["far_accuracy"] == 1
    assert "near/1/original/0 was not asked" in scored("Ann Lee, 1961")[1]["near_accuracy"].reason
    assert "the benchmark's own spans were not given" in scored(*said, gold=None)[1]["near_accuracy"].reason


def test_a_benchmark_without_neighbours_has_no_such_metric():
    items, summary = scored("Oslo", rows=[row("forget/0/original/0")])
    assert items == summary == {}
    assert neighbours.summary({}, Scope("log", frozenset(), partial=True)) == {}


def test_an_evaluation_asks_neighbours_and_reads_the_benchmarks_spans(model_path, tmp_path):
    examples, gold = tmp_path / "examples.parquet", tmp_path / "gold.parquet"
    rows = [row("forget/0/original/0"), row("retain/0/original/0"), ANN, BOB]
    tables.write(examples, "examples", rows, {"benchmark": "made-up"})
    spans = [
        {"example_id": name, "char_start": start, "char_end": end, "label": "", "score": None, "tagger": "gold"}
        for name, own in SPANS.items()
        for start, end in own
    ]
    tables.write(gold, "spans", spans, {"examples": tables.content_digest(examples)})
    settings = EvaluationSettings(max_new_tokens=3, fluency=FluencySettings(classifier=None), gradient_norms=False)
    infer(model_path, examples, tmp_path, ModelSettings(), settings)
    asked = [each["example_id"] for each in tables.rows(tmp_path / "generations.parquet", "generations")]
    assert sorted(asked) == sorted(each["example_id"] for each in rows)
    read = [each["example_id"] for each in tables.rows(tmp_path / "logprobs.parquet", "logprobs")]
    assert read == ["forget/0/original/0", "retain/0/original/0"]
    paths = EvidencePaths(examples, tmp_path / "generations.parquet", tmp_path / "logprobs.parquet", gold=gold)
    assert gather(paths, settings).gold[BOB["example_id"]] == [(3, 7)]
    summary = score(paths, tmp_path / "out", settings).summary
    assert summary["near_accuracy"] == 0
    assert "far_accuracy" not in summary
