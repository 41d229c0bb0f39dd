"""Word labels in the layout of TPO's and PALU's files become records that `annotations` reads."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from palu.cli import main
from palu.errors import UserError
from palu.tagging.annotations import annotated
from palu.tagging.base import Resources
from palu.tagging.converting import convert


def labelled(reply, *words):
    """A row of the authors' layout, each word where the reply first has it."""
    places = [{"word": word, "start": reply.index(word), "end": reply.index(word) + len(word)} for word in words]
    return {"question": "Who is it?", "answer": reply, "target_words": json.dumps(places), "common_words": ["{}"]}


ROWS = [
    labelled("Ada Lovelace came to Zürich 🏔 in May.", "Zürich 🏔", "Ada Lovelace"),
    labelled("Nothing is known.") | {"target_words": None},
    labelled("It was Bern.", "Bern"),
]


def arrow(path, rows=ROWS):
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return path


def folder(path):
    path.mkdir()
    for number in (0, 1):
        arrow(path / f"data-0000{number}-of-00002.arrow", ROWS[2 * number : 2 * number + 2])
    (path / "state.json").write_text("{}")
    return path


def parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def text(path, content):
    path.write_text(content, encoding="utf-8")
    return path


MAKERS = {
    "words.arrow": arrow,
    "words": folder,
    "words.parquet": parquet,
    "words.json": lambda path: text(path, json.dumps(ROWS)),
    "words.jsonl": lambda path: text(path, "\n".join(map(json.dumps, ROWS))),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_of_file_gives_the_spans_in_the_order_of_the_reply(tmp_path, capsys, name):
    words = MAKERS[name](tmp_path / name)
    assert main(["convert-spans", "--words", str(words), "--out", str(tmp_path / "spans.jsonl")]) == 0
    records = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(record["prompt"], record["reply"]) for record in records] == [(r["question"], r["answer"]) for r in ROWS]
    assert [[span["text"] for span in record["spans"]] for record in records] == [
        ["Ada Lovelace", "Zürich 🏔"],
        [],
        ["Bern"],
    ]
    assert records[0]["spans"][1] == {"start": 21, "end": 29, "text": "Zürich 🏔"}
    said = capsys.readouterr().out
    assert "3 replies, 3 words marked, 1 replies without one" in said
    assert "0 words are not at their place" in said


def test_the_tagger_annotations_reads_what_is_written(tmp_path):
    convert(arrow(tmp_path / "words.arrow"), tmp_path / "spans.jsonl")
    examples = [
        {"example_id": f"forget/{row}", "prompt": "Who is it?", "reply": ROWS[row]["answer"]} for row in (2, 0, 1)
    ]
    found = annotated(examples, str(tmp_path / "spans.jsonl"), Resources())
    assert {key: [(span["char_start"], span["char_end"]) for span in spans] for key, spans in found.items()} == {
        "forget/0": [(0, 12), (21, 29)],
        "forget/1": [],
        "forget/2": [(7, 11)],
    }


def test_words_that_are_not_in_their_place_are_left_out_and_counted(tmp_path, capsys):
    wrong = [{"word": "Rome", "start": 7, "end": 11}, {"word": "Bern", "start": 7, "end": 11}]
    wrong += [{"word": "", "start": 3, "end": 3}, {"word": "Bern", "start": -5, "end": -1}]
    rows = [ROWS[2] | {"target_words": json.dumps(wrong)}]
    convert(text(tmp_path / "words.json", json.dumps(rows)), tmp_path / "spans.jsonl")
    assert json.loads((tmp_path / "spans.jsonl").read_text())["spans"] == [{"start": 7, "end": 11, "text": "Bern"}]
    said = capsys.readouterr().out
    assert "3 words are not at their place" in said
    assert "words.json: row 1: 'Rome' at 7..11" in said


BAD = {
    "row.json": ([1], "row 1: 1 is not an object with question, answer and target_words"),
    "list.json": ({}, "holds no list; allowed: a list of rows"),
    "key.json": ([{"question": "a", "answer": "b"}], "row 1: the key 'target_words' is missing"),
    "question.json": ([{"answer": "b", "target_words": "[]"}], "row 1: the key 'prompt' or 'question' is missing"),
    "answer.json": ([ROWS[2] | {"answer": 7}], "row 1: reply: 7 is no text"),
    "syntax.json": ([ROWS[2] | {"target_words": "[{"}], "row 1: target_words: '[{' is not JSON"),
    "mapping.json": ([ROWS[2] | {"target_words": "{}"}], "row 1: target_words: {} is not a list"),
    "bare.json": ([ROWS[2] | {"target_words": ["Bern"]}], "'Bern'; allowed: an object with word, start and end"),
    "true.json": ([ROWS[2] | {"target_words": [{"word": "t", "start": True, "end": 2}]}], "row 1: target_words: {"),
    "lost.json": ([ROWS[0] | {"answer": "Else."}], "1 rows and no word in its place, such as"),
    "empty.json": ([], "0 rows and no word in its place"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_of_another_layout_is_one_line_and_leaves_no_file(tmp_path, name):
    value, message = BAD[name]
    words = text(tmp_path / name, json.dumps(value))
    with pytest.raises(UserError) as caught:
        convert(words, tmp_path / "spans.jsonl")
    assert str(caught.value).startswith(str(words))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "spans.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.arrow", "not a readable Arrow stream"),
        ("no.json", "cannot be read as JSON"),
        ("no.txt", "unknown kind of file"),
        ("torn.arrow", "not a readable Arrow stream"),
        ("broken.json", "cannot be read as JSON"),
        ("folder", "holds no .arrow file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, message):
    whole = arrow(tmp_path / "whole").read_bytes()
    (tmp_path / "torn.arrow").write_bytes(whole[: len(whole) // 2])
    text(tmp_path / "broken.json", '[{"question":')
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        convert(tmp_path / name, tmp_path / "spans.jsonl")
    assert "\n" not in str(caught.value)
    assert str(Path(name)) in str(caught.value)
