"""What is told of the rows."""

import json

from palu import benchmarks, models, tables
from palu.benchmarks.parts import BenchmarkPart
from palu.planning import data
from palu.study import Study
from palu.tokens import encode
from tests.planning.conftest import QUESTIONS


def test_tokens_are_those_that_the_reference_sees(own, checkpoint, tmp_path):
    study = Study.parse(own, "study.yaml")
    found = data.read(study.benchmark, data.tokenizer_of(checkpoint), 64)
    examples = tmp_path / "examples.parquet"
    benchmarks.prepare("custom", study.benchmark.settings, examples, tmp_path / "gold.parquet")
    rows = [row for row in tables.rows(examples, "examples") if row["part"] == "forget"]
    encoded = encode(rows, models.load_tokenizer(checkpoint), study.model, 64)
    predicted = sum(len(row) - row.first_target for row in encoded)
    assert abs(found.tokens("forget") - predicted) <= 0.02 * predicted


def test_counts_of_rows_spans_and_wrong_replies(own, tmp_path):
    path = tmp_path / "forget.jsonl"
    records = [
        {"prompt": "p", "reply": "0123456789", "spans": [[0, 3], [2, 5]], "wrong": ["x", "y"]},
        {"text": "0123456789"},
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    found = data.read(Study.parse(own, "study.yaml").benchmark, None, 64)
    facts = found.parts["forget"]
    assert (facts.rows, facts.documents, facts.characters) == (2, 1, 20)
    assert (facts.span_rows, facts.span_characters, facts.wrong_rows) == (1, 5, 1)
    assert facts.tokens == (3 + 1) + 3, "four characters a token, and the end of the reply that has a prompt"
    raw = data.read(Study.parse(own, "study.yaml").benchmark, None, 64, "raw")
    assert raw.parts["forget"].tokens == 3 + 3
    assert found.parts["retain"].rows == len(QUESTIONS) - 40


def test_neighbours_are_counted_and_are_no_rows_to_forget(own, tmp_path):
    (tmp_path / "near.jsonl").write_text('{"prompt": "Who?", "reply": "Ann did.", "spans": [[0, 3]]}\n')
    benchmark = own["benchmark"] | {"near": str(tmp_path / "near.jsonl")}
    found = data.read(Study.parse(own | {"benchmark": benchmark}, "study.yaml").benchmark, None, 64)
    assert (found.parts["near"].rows, found.parts["near"].span_rows) == (1, 1)
    assert found.forget == [found.parts["forget"]]


def test_a_row_with_a_prompt_is_cut_short_and_a_document_is_cut_into_pieces(own, tmp_path):
    path = tmp_path / "forget.jsonl"
    path.write_text(json.dumps({"prompt": "p", "reply": "x" * 4000}) + "\n" + json.dumps({"text": "x" * 4000}) + "\n")
    found = data.read(Study.parse(own, "study.yaml").benchmark, None, 64)
    assert found.parts["forget"].tokens == (64 - 1 - 1) + 1000
    assert found.parts["forget"].longest == 64


def test_the_hubs_rows_are_not_asked_for_but_a_prepared_table_is_read(own, tmp_path):
    tofu = Study.parse(own | {"benchmark": {"name": "tofu"}}, "study.yaml").benchmark
    assert data.read(tofu, None, 64) == "not read: on the hub"
    own_rows = Study.parse(own, "study.yaml").benchmark.settings
    table = tmp_path / "data" / "tofu" / f"{tofu.key}.parquet"
    benchmarks.prepare("custom", own_rows, table, table.with_suffix(".gold.parquet"))
    found = data.read(BenchmarkPart(tofu.name, tofu.settings), None, 64)
    assert (found.parts["forget"].rows, found.parts["forget"].span_rows) == (40, 40)
    assert found.source == f"data/tofu/{tofu.key}.parquet"
