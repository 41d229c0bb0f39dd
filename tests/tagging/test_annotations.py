"""Spans from files, and what `tag` does with the spans of any tagger."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from palu import tables, tagging
from palu.errors import UserError
from palu.tagging import Resources, annotations, merge
from palu.tagging.annotations import Settings

ROWS = [
    ("forget/00000/original/0", "Who wrote it?", "Ada Lovelace wrote it.", "forget"),
    ("forget/00001/original/0", "Where?", "In Zürich 😀, they say.", "forget"),
    ("forget/00002/original/0", "Where?", "In Zürich 😀, they say.", "forget"),
    ("retain/00000/original/0", "When?", "It was in 1843.", "retain"),
]


def example(example_id, prompt, reply, part, reply_kind="original", prompt_kind="original"):
    return {
        "example_id": example_id,
        "item_id": example_id,
        "reply_kind": reply_kind,
        "reply_index": 0,
        "prompt_kind": prompt_kind,
        "part": part,
        "prompt": prompt,
        "reply": reply,
        "group": "g",
        "source_revision": "1",
    }


@pytest.fixture
def examples_path(tmp_path):
    rows = [example(*row) for row in ROWS]
    rows.append(example("forget/00000/paraphrase/0", "Who wrote it?", "Lovelace.", "forget", reply_kind="paraphrase"))
    rows.append(example("forget/00000/question/0", "By whom?", ROWS[0][2], "forget", prompt_kind="paraphrase"))
    tables.write(tmp_path / "examples.parquet", "examples", rows, {})
    return tmp_path / "examples.parquet"


@pytest.fixture
def tag_file(examples_path, tmp_path):
    """Tag with a file of the given records; returns what was written."""

    def run(records, parts=("forget",), name="marks.jsonl"):
        path = tmp_path / name
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(records), path)
        else:
            lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        out = tmp_path / "out.parquet"
        tagging.tag("annotations", Settings(path=str(path)), examples_path, None, out, parts)
        return tables.rows(out, "spans")

    return run


def record(row=0, spans=((0, 3),), **more):
    _example_id, prompt, reply, _part = ROWS[row]
    return {"prompt": prompt, "reply": reply, "spans": [{"start": a, "end": b} for a, b in spans], **more}


def places(rows):
    return [(row["example_id"], row["char_start"], row["char_end"]) for row in rows]


def test_spans_are_written_with_label_tagger_and_provenance(tag_file, examples_path, tmp_path):
    rows = tag_file([record(spans=[]) | {"spans": [{"start": 0, "end": 12, "label": "NAME", "text": "Ada Lovelace"}]}])
    assert rows == [
        {
            "example_id": ROWS[0][0],
            "char_start": 0,
            "char_end": 12,
            "label": "NAME",
            "score": None,
            "tagger": "annotations",
        }
    ]
    facts = tables.provenance(tmp_path / "out.parquet")
    assert (facts["tagger"], facts["examples"]) == ("annotations", tables.content_digest(examples_path))


def test_prompt_and_reply_may_be_called_question_and_answer(tag_file):
    _, question, answer, _ = ROWS[0]
    rows = tag_file([{"row": 7, "question": question, "answer": answer, "spans": [{"start": 0, "end": 3}]}])
    assert places(rows) == [(ROWS[0][0], 0, 3)]
    assert rows[0]["label"] == annotations.UNLABELLED


def test_examples_of_the_same_text_get_the_same_spans(tag_file):
    assert places(tag_file([record(1, [(3, 9)])])) == [(ROWS[1][0], 3, 9), (ROWS[2][0], 3, 9)]


def test_an_example_id_chooses_one_of_them(tag_file):
    marked = {"example_id": ROWS[2][0], "spans": [{"start": 3, "end": 9, "text": "Zürich"}]}
    assert places(tag_file([marked])) == [(ROWS[2][0], 3, 9)]


def test_offsets_count_code_points(tag_file):
    marked = record(1) | {"spans": [{"start": 10, "end": 11, "text": "😀"}]}
    assert places(tag_file([marked]))[0] == (ROWS[1][0], 10, 11)


def test_a_parquet_file_of_records_reads_like_jsonl(tag_file):
    records = [record(0, [(0, 3), (4, 12)]), record(1, [(3, 9)])]
    assert tag_file(records, name="marks.parquet") == tag_file(records)


def test_a_spans_table_is_read_as_it_is(tag_file, examples_path, tmp_path):
    first = tag_file([record(0, [(4, 12)])])
    (tmp_path / "out.parquet").rename(tmp_path / "made.parquet")
    out = tmp_path / "again.parquet"
    tagging.tag("annotations", Settings(path=str(tmp_path / "made.parquet")), examples_path, None, out, ["forget"])
    assert tables.rows(out, "spans") == first


def write_gold(path, examples_path, examples_digest=None):
    rows = [
        {"example_id": i, "char_start": a, "char_end": b, "label": "GOLD", "score": None, "tagger": "gold"}
        for i, a, b in ((ROWS[0][0], 0, 12), (ROWS[3][0], 10, 14))
    ]
    digest = examples_digest or tables.content_digest(examples_path)
    tables.write(path, "spans", rows, {"examples": digest})


def test_without_a_path_the_gold_spans_of_the_tagged_parts_are_used(examples_path, tmp_path):
    gold, out = tmp_path / "gold.parquet", tmp_path / "out.parquet"
    write_gold(gold, examples_path)
    tagging.tag("annotations", Settings(), examples_path, Resources(gold_path=gold), out, ["forget"])
    rows = tables.rows(out, "spans")
    assert places(rows) == [(ROWS[0][0], 0, 12)]
    assert (rows[0]["label"], rows[0]["tagger"]) == ("GOLD", "annotations")


def test_gold_spans_of_other_examples_are_refused(examples_path, tmp_path):
    gold = tmp_path / "gold.parquet"
    write_gold(gold, examples_path, "0123456789abcdef")
    with pytest.raises(UserError, match="made with examples '0123456789abcdef'"):
        tagging.tag(
            "annotations", Settings(), examples_path, Resources(gold_path=gold), tmp_path / "out.parquet", ["forget"]
        )


def test_a_benchmark_without_gold_spans_needs_a_path(examples_path, tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(UserError, match="path is not set, and no gold spans"):
        tagging.tag("annotations", Settings(), examples_path, None, out, ["forget"])
    tables.write(tmp_path / "gold.parquet", "spans", [], {"examples": tables.content_digest(examples_path)})
    with pytest.raises(UserError, match=r"holds no span of the 3 examples; allowed: annotations\.path"):
        tagging.tag(
            "annotations", Settings(), examples_path, Resources(gold_path=tmp_path / "gold.parquet"), out, ["forget"]
        )


def test_only_original_replies_of_the_parts_are_tagged(examples_path, tmp_path, tag_file):
    assert places(tag_file([record(0), record(3, [(10, 14)])], parts=("retain",))) == [(ROWS[3][0], 10, 14)]
    coverage = tagging.tag(
        "annotations",
        Settings(path=str(tmp_path / "marks.jsonl")),
        examples_path,
        None,
        tmp_path / "both.parquet",
        ["forget", "retain"],
    )
    assert coverage.rows == 4


def test_coverage_is_printed(tag_file, capsys):
    tag_file([record(0, [(0, 12)]), {"question": "Else?", "answer": "No.", "spans": [{"start": 0, "end": 2}]}])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("marks.jsonl: 2 examples without a record, 1 records without an example")
    characters = sum(len(row[2]) for row in ROWS[:3])
    share = f"{12 / characters:.1%}"
    assert printed[1] == (
        f"annotations: 3 rows, 2 of them without any span; 1 spans over {share} of {characters} characters"
    )


def test_an_empty_list_of_spans_counts_as_a_record(tag_file, capsys):
    tag_file([record(0), record(1, [])])
    assert "0 examples without a record" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ('{"prompt": "a",', "not valid JSON"),
        ("[1, 2]", "is not an object; allowed: keys and values in braces"),
        ({"prompt": "Where?", "spans": []}, "the key 'reply' or 'answer' is missing"),
        ({"answer": "Here.", "spans": []}, "the key 'prompt' or 'question' is missing"),
        ({"example_id": ROWS[0][0]}, "the key 'spans' is missing"),
        (record(0) | {"spans": {"start": 0}}, "is not a list"),
        (record(0) | {"spans": ["Ada"]}, "the span 'Ada' is not an object with start and end"),
        (record(0) | {"spans": [{"start": 0}]}, "the key 'end' of a span is missing"),
        (record(0) | {"spans": [{"start": "0", "end": 3}]}, "start: '0' is not a whole number"),
        (record(0) | {"spans": [{"start": True, "end": 3}]}, "start: True is not a whole number"),
        (record(0, [(0, 23)]), "span 0..23 lies outside its reply; allowed: 0 <= start < end <= 22"),
        (record(0, [(3, 3)]), "span 3..3 lies outside its reply"),
        (record(0, [(-1, 3)]), "span -1..3 lies outside its reply"),
        (record(0) | {"spans": [{"start": 0, "end": 3, "text": "Eve"}]}, "span 0..3 says 'Eve', the reply has 'Ada'"),
        ({"example_id": ROWS[0][0], "reply": "Other.", "spans": []}, "its reply is not that of example"),
        ({"question": "?", "answer": "No.", "spans": [{"start": 0, "end": 4}]}, "span 0..4 lies outside its reply"),
    ],
)
def test_a_wrong_record_is_one_line_that_names_file_and_line(tag_file, tmp_path, bad, complaint):
    with pytest.raises(UserError) as error:
        tag_file([record(0), "", bad])
    assert str(error.value).startswith(f"{tmp_path / 'marks.jsonl'}: line 3: ")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.parquet").exists(), "nothing half-written"


def test_a_wrong_record_of_a_parquet_file_names_its_row(tag_file):
    with pytest.raises(UserError, match=r"marks\.parquet: row 2: span 0\.\.99 lies outside"):
        tag_file([record(0), record(1, [(0, 99)])], name="marks.parquet")


def test_a_file_of_other_texts_is_refused(tag_file):
    stranger = {"prompt": "Why?", "reply": "Because.", "spans": []}
    unknown = {"example_id": "forget/00999/original/0", "spans": []}
    with pytest.raises(UserError, match="none of its 2 records is of one of the 3 examples"):
        tag_file([stranger, unknown])


def test_a_file_that_marks_nothing_is_refused(tag_file):
    with pytest.raises(UserError, match="found nothing sensitive in the 3 replies"):
        tag_file([record(0, [])])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("gone.jsonl", None, "no such file"),
        ("gone.parquet", None, "no such file"),
        ("bad.parquet", b"PAR1 cut", "not a readable Parquet file"),
        ("marks.csv", b"a,b", "unknown kind of file '.csv'; allowed: .jsonl, .parquet"),
        ("latin.jsonl", '{"a": "ü"}'.encode("latin-1"), "line 1: is not UTF-8 text"),
    ],
)
def test_an_unreadable_file_is_one_line_that_names_it(examples_path, tmp_path, name, content, complaint):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        tagging.tag("annotations", Settings(path=str(path)), examples_path, None, tmp_path / "o.parquet", ["forget"])
    assert str(error.value).startswith(f"{path}: ")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_part_lists_the_parts_of_the_file(examples_path, tmp_path):
    with pytest.raises(UserError, match=r"unknown part 'forgot' \(did you mean 'forget'\?\); allowed: forget, retain"):
        tagging.tag("annotations", Settings(), examples_path, None, tmp_path / "out.parquet", ["forgot"])


def test_without_a_wish_the_parts_to_forget_that_are_there_are_tagged(examples_path, tmp_path):
    rows = tables.rows(examples_path, "examples")
    named = {row["example_id"] for row in rows if row["part"] == "forget" and tables.is_training_row(row)}
    gold = [
        {
            "example_id": row["example_id"],
            "char_start": 0,
            "char_end": 1,
            "label": "x",
            "score": None,
            "tagger": "gold",
        }
        for row in rows
    ]

    def tagged(rows, name):
        path, gold_path, out = (tmp_path / f"{name}.{kind}.parquet" for kind in ("rows", "gold", "out"))
        tables.write(path, "examples", rows, {})
        tables.write(gold_path, "spans", gold, {"examples": tables.content_digest(path)})
        tagging.tag("annotations", Settings(), path, Resources(gold_path=gold_path), out)
        return {row["example_id"] for row in tables.rows(out, "spans")}

    assert tagged(rows, "one") == named
    further = [row | {"part": "validation"} if row["example_id"] == min(named) else row for row in rows]
    assert tagged(further, "two") == named, "also those on which a run is stopped"
    with pytest.raises(UserError, match="unknown part 'forget'; allowed: retain"):
        tagged([row for row in rows if row["part"] == "retain"], "none")


def test_unknown_taggers_and_keys_list_the_known_ones():
    with pytest.raises(UserError, match=r"taggers\.x: unknown tagger 'gpt'; allowed: annotations, .*, spacy,"):
        tagging.load("gpt", "taggers.x")
    with pytest.raises(UserError, match=r"unknown key 'file'.* allowed: fallback, path"):
        Settings.parse({"file": "a"}, "study: taggers.gold")


def span(start, end, label="X", example_id="a"):
    return {"example_id": example_id, "char_start": start, "char_end": end, "label": label}


def test_overlapping_spans_are_joined_under_the_longest_ones_label():
    merged = merge([span(6, 20, "LONG"), span(2, 8, "SHORT"), span(0, 1), span(3, 5, "INNER")])
    assert merged == [span(0, 1), span(2, 20, "LONG")]


def test_touching_spans_and_spans_of_other_examples_stay_apart():
    spans = [span(0, 4, "A"), span(4, 6, "B"), span(1, 5, "C", "b")]
    assert merge(spans) == spans


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (span(0, 99, example_id=ROWS[0][0]), "span 1 of example 'forget/00000/original/0': 0..99 lies outside"),
        (span(2, 2, example_id=ROWS[0][0]), "2..2 lies outside its reply"),
        (span(0, 1, example_id="nobody"), "there is no such example among the 3"),
    ],
)
def test_a_tagger_that_errs_writes_nothing(examples_path, tmp_path, monkeypatch, found, complaint):
    erring = SimpleNamespace(Settings=Settings, spans=lambda *_arguments: [found])
    monkeypatch.setattr(tagging, "load", lambda _name: erring)
    with pytest.raises(UserError) as error:
        tagging.tag("spacy", Settings(), examples_path, None, tmp_path / "out.parquet", ["forget"])
    assert complaint in str(error.value)
    assert not (tmp_path / "out.parquet").exists()


def test_the_gold_file_of_the_benchmark_is_read_whole(shared, tmp_path):
    path = shared / "data" / "tofu-spans" / "forget10-minus-forget05.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [example(f"forget/{r['row']}/original/0", r["question"], r["answer"], "forget") for r in records]
    tables.write(tmp_path / "examples.parquet", "examples", rows, {})
    settings, out = Settings(path=str(path)), tmp_path / "out.parquet"
    coverage = tagging.tag("annotations", settings, tmp_path / "examples.parquet", None, out, ["forget"])
    assert coverage.rows == len(records)
    assert coverage.rows_without_span == sum(not r["spans"] for r in records)
    by_id = {row["example_id"]: row["reply"] for row in rows}
    texts = {
        (s["example_id"], by_id[s["example_id"]][s["char_start"] : s["char_end"]]) for s in tables.rows(out, "spans")
    }
    wanted = {(f"forget/{r['row']}/original/0", s["text"]) for r in records for s in r["spans"]}
    assert len(wanted & texts) / len(wanted) > 0.95, "all but those that overlap others"
