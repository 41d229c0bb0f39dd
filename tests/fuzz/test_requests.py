"""Whatever stands in the user's own rows, `palu benchmark` writes both tables or one line."""

import json
import shutil
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from palu import cli, tables
from palu.benchmarks.custom import KEYS
from palu.benchmarks.records import SPAN_KEYS
from tests.fuzz.outcomes import ANY_TEXT, JSON_VALUES, TEXT, examples, listing, watched

RETAIN = '{"prompt": "Who keeps bees?", "reply": "Bo keeps bees."}\n'
SPAN = st.one_of(
    st.tuples(st.integers(-1, 12), st.integers(-1, 12)).map(list),
    st.dictionaries(st.sampled_from([*SPAN_KEYS, "begin"]), st.one_of(st.integers(-1, 12), TEXT, JSON_VALUES)),
    JSON_VALUES,
)
VALUES = st.one_of(TEXT, JSON_VALUES, st.lists(SPAN, max_size=3), st.lists(TEXT, max_size=2))
SOUND = st.fixed_dictionaries(
    {"prompt": TEXT, "reply": TEXT},
    optional={"group": TEXT, "paraphrase": TEXT, "paraphrased_prompt": TEXT, "wrong": st.lists(TEXT, max_size=3)},
)
RECORDS = st.one_of(
    SOUND,
    st.builds(lambda row, key, value: {**row, key: value}, SOUND, st.sampled_from(KEYS), VALUES),
    st.builds(lambda row, key: {k: v for k, v in row.items() if k != key}, SOUND, st.sampled_from(KEYS)),
    st.dictionaries(st.one_of(st.sampled_from(KEYS), ANY_TEXT), VALUES, max_size=4),
    JSON_VALUES,
)
LINES = st.one_of(
    RECORDS.map(json.dumps).map(str.encode),
    RECORDS.map(lambda row: json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=20),
    st.sampled_from([b"", b" ", b"{", b"[" * 3000, b'{"prompt":' * 500, b"\xef\xbb\xbf{}", b"\0", b"1" * 5000])
    | st.sampled_from([b'{"id": ' + b"9" * 4000 + b', "prompt": "a", "reply": "b"}', b'{"a": 1, "a": 2}', b"NaN"]),
)


def run(folder: Path, content: bytes, capsys) -> tuple[int, str]:
    """`palu benchmark` over one file of rows; its status, and its line of error."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "forget.jsonl").write_bytes(content)
    (folder / "retain.jsonl").write_text(RETAIN)
    before = listing(folder)
    settings = {"forget": str(folder / "forget.jsonl"), "retain": str(folder / "retain.jsonl")}
    out = ["--out", str(folder / "rows.parquet"), "--gold-out", str(folder / "gold.parquet")]
    capsys.readouterr()
    with watched():
        status = cli.main(["benchmark", "--name", "custom", "--settings", json.dumps(settings), *out])
    error = capsys.readouterr().err
    if status:
        assert error.startswith("palu: error: ")
        assert error.count("\n") == 1
        assert error.endswith("\n")
        assert all(each.isprintable() for each in error[:-1])
        assert listing(folder) == before
    else:
        assert set(listing(folder)) == {"forget.jsonl", "retain.jsonl", "rows.parquet", "gold.parquet"}
    return status, error


@examples(80)
@given(
    lines=st.lists(LINES, max_size=4),
    end=st.sampled_from([b"\n", b"\r\n", b"\r", b""]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
)
@example([json.dumps({"prompt": "a", "reply": "b", "id": 1}).encode()] * 2, b"\n", b"")
def test_any_lines_become_tables_or_one_line_of_error(tmp_path_factory, capsys, lines, end, mark):
    folder = tmp_path_factory.getbasetemp() / "requests"
    status, error = run(folder, mark + end.join(lines), capsys)
    if status:
        assert "forget.jsonl" in error or "benchmark custom" in error


@examples(30)
@given(st.lists(st.tuples(SOUND, st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=3)), min_size=1))
def test_sound_rows_come_back_from_the_tables_to_the_letter(tmp_path_factory, capsys, rows):
    folder = tmp_path_factory.getbasetemp() / "sound"
    records = [
        {**row, "spans": [[start, min(start + size, len(row["reply"]))] for start, size in spans]}
        for row, spans in rows
        if all(start < len(row["reply"]) for start, _ in spans)
    ]
    status, error = run(folder, "\n".join(map(json.dumps, records)).encode(), capsys)
    if status:
        # two rows of the same text are of one part, so that only an empty file and the retained row are refused
        assert not records or "Who keeps bees?" in str(rows), error
        return
    stored = tables.rows(folder / "rows.parquet", "examples")
    originals = [
        row
        for row in stored
        if (row["part"], row["reply_kind"], row["prompt_kind"]) == ("forget", "original", "original")
    ]
    assert [(row["prompt"], row["reply"]) for row in originals] == [(row["prompt"], row["reply"]) for row in records]
    ids = [row["example_id"] for row in originals]
    gold = [span for span in tables.rows(folder / "gold.parquet", "spans") if span["example_id"] in ids]
    found = [(ids.index(span["example_id"]), [span["char_start"], span["char_end"]]) for span in gold]
    assert found == [(number, span) for number, record in enumerate(records) for span in record["spans"]]
