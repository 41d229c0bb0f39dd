"""Spans of several taggers together."""

import pytest

from palu import tables, tagging
from palu.errors import UserError
from palu.tagging import Resources
from palu.tagging.union import Settings
from tests.tagging.tables_of import example, write_examples, write_spans

A, B = "forget/00000/original/0", "forget/00001/original/0"


@pytest.fixture
def examples(tmp_path):
    return write_examples(tmp_path / "e.parquet", [example(0, "?", "abcdefghij"), example(1, "?", "klmnopqrst")])


def united(tmp_path, examples, *tables_of_spans):
    paths = [write_spans(tmp_path / f"{i}.parquet", examples, spans) for i, spans in enumerate(tables_of_spans)]
    tagging.tag("union", Settings(), examples, Resources(inputs=tuple(paths)), tmp_path / "out.parquet")
    rows = tables.rows(tmp_path / "out.parquet", "spans")
    assert {row["tagger"] for row in rows} == {"union"}
    return [(row["example_id"], row["char_start"], row["char_end"]) for row in rows]


def test_overlapping_spans_are_joined_and_touching_ones_stay(tmp_path, examples):
    found = united(tmp_path, examples, {A: [(0, 3), (6, 8)]}, {A: [(2, 5), (8, 9)], B: [(1, 2)]}, {B: [(4, 6)]})
    assert found == [(A, 0, 5), (A, 6, 8), (A, 8, 9), (B, 1, 2), (B, 4, 6)]


def test_one_table_is_nothing_to_combine(tmp_path, examples):
    with pytest.raises(UserError, match="union: 1 spans tables are given to combine; allowed: two or more"):
        united(tmp_path, examples, {A: [(0, 3)]})


def test_spans_of_other_examples_are_refused(tmp_path, examples):
    other = write_examples(tmp_path / "other.parquet", [example(0, "?", "zyxwvutsrq")])
    paths = (
        write_spans(tmp_path / "0.parquet", examples, {A: [(0, 1)]}),
        write_spans(tmp_path / "1.parquet", other, {}),
    )
    with pytest.raises(UserError, match=r"1\.parquet: made with examples"):
        tagging.tag("union", Settings(), examples, Resources(inputs=paths), tmp_path / "out.parquet")
