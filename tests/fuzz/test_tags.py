"""`palu tag` and `palu score-tags` over odd tables end in a table, or in one line and no file."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palu import tables
from palu.cli import main
from tests.fuzz.outcomes import ODD_PIECES, WHOLE_TEXT, examples, listing
from tests.fuzz.sound import rows_of

PARTS = st.sampled_from(["forget", "forget", "retain", "validation", "", "=1", "\n"])
KINDS = st.sampled_from(["original", "original", "original", "perturbed", "\x1b[2J"])
ROWS = st.lists(st.tuples(WHOLE_TEXT, WHOLE_TEXT, PARTS, KINDS), max_size=4)


def examples_table(path, rows):
    made = [
        {**row, "prompt": prompt, "reply": reply, "part": part, "reply_kind": kind, "prompt_kind": "original"}
        for row, (prompt, reply, part, kind) in zip(rows_of("examples", len(rows)), rows, strict=True)
    ]
    tables.write(path, "examples", made, {})
    return made


@pytest.mark.parametrize("tagger", ["spacy", "annotations"])
@examples(6)
@given(ROWS, st.sampled_from(["skip", "whole_reply", "first_clause"]), st.one_of(st.none(), WHOLE_TEXT, PARTS))
@example([("Who?", "".join(ODD_PIECES).encode("utf-8", "replace").decode(), "forget", "original")], "skip", None)
@example([("Who?", "Ada.", "forget", "original")] * 2, "whole_reply", None)
def test_any_replies_are_tagged_inside_themselves_or_refused(tmp_path_factory, capsys, tagger, rows, fallback, parts):
    folder = tmp_path_factory.mktemp("tagged")
    made = examples_table(folder / "rows.parquet", rows)
    gold = [{**span, "char_end": 1} for span in rows_of("spans", len(rows)) if made]
    digest = tables.content_digest(folder / "rows.parquet")
    tables.write(folder / "gold.parquet", "spans", gold, {"examples": digest, "parts": "forget"})
    before = listing(folder)
    command = ["tag", "--tagger", tagger, "--examples", str(folder / "rows.parquet"), "--set", f"fallback={fallback}"]
    command += ["--out", str(folder / "tags.parquet"), "--gold", str(folder / "gold.parquet")]
    status = main([*command, *([f"--parts={parts}"] if parts is not None else [])])
    error = capsys.readouterr().err
    if status:
        assert error.startswith("palu: error: ")
        assert error.count("\n") == 1
        assert listing(folder) == before
        return
    replies = {row["example_id"]: row["reply"] for row in made}
    spans = tables.rows(folder / "tags.parquet", "spans")
    assert spans
    assert all(0 <= span["char_start"] < span["char_end"] <= len(replies[span["example_id"]]) for span in spans)


@examples(20)
@given(st.lists(st.tuples(st.integers(-5, 60), st.integers(-5, 60)), max_size=4), st.booleans())
@example([(0, 2**31 - 1)], False)
@example([(5, 2)], True)
def test_score_tags_reads_any_spans_or_refuses_them(tmp_path_factory, capsys, pairs, with_examples):
    base = tmp_path_factory.getbasetemp() / "scored"
    base.mkdir(exist_ok=True)
    text = {"prompt": "Who?", "reply": "Ada wrote it in 1843.", "part": "forget", "reply_kind": "original"}
    rows = [{**row, **text, "prompt_kind": "original"} for row in rows_of("examples", 2)]
    tables.write(base / "rows.parquet", "examples", rows, {})
    facts = {"examples": tables.content_digest(base / "rows.parquet"), "parts": "forget"}
    own = [{**rows_of("spans", 1)[0], "char_start": start, "char_end": end} for start, end in pairs]
    tables.write(base / "own.parquet", "spans", own, facts)
    tables.write(base / "gold.parquet", "spans", rows_of("spans", 2), facts)
    command = ["score-tags", "--predicted", str(base / "own.parquet"), "--gold", str(base / "gold.parquet"), "--json"]
    status = main([*command, *(["--examples", str(base / "rows.parquet")] if with_examples else [])])
    said = capsys.readouterr()
    length = len(text["reply"]) if with_examples else 2**31
    assert status == (0 if all(0 <= start < end <= length for start, end in pairs) else 1), said.err
    if status:
        assert said.err.startswith(f"palu: error: {base / 'own.parquet'}: example ")
        assert said.err.count("\n") == 1
    else:
        assert said.out.startswith('{"rows": 2')
