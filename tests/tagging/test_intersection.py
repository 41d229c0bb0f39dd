"""What several taggers agree on."""

import pytest

from palu import tables, tagging
from palu.errors import UserError
from palu.tagging import Resources
from palu.tagging.intersection import Settings
from tests.tagging.tables_of import example, write_examples, write_spans

A, B = "forget/00000/original/0", "forget/00001/original/0"


@pytest.fixture
def common(tmp_path):
    examples = write_examples(tmp_path / "e.parquet", [example(0, "?", "ab  cd  efgh"), example(1, "?", "klmnopqrst")])

    def run(*tables_of_spans):
        paths = [write_spans(tmp_path / f"{i}.parquet", examples, spans) for i, spans in enumerate(tables_of_spans)]
        tagging.tag("intersection", Settings(), examples, Resources(inputs=tuple(paths)), tmp_path / "out.parquet")
        rows = tables.rows(tmp_path / "out.parquet", "spans")
        return [(row["example_id"], row["char_start"], row["char_end"]) for row in rows]

    return run


def test_only_what_all_mark_is_kept(common):
    assert common({A: [(0, 6)], B: [(0, 4)]}, {A: [(1, 12)]}, {A: [(0, 2), (5, 9)], B: [(0, 4)]}) == [
        (A, 1, 2),
        (A, 5, 6),
    ]


def test_pieces_are_trimmed_and_white_space_alone_is_none(common):
    assert common({A: [(0, 8)]}, {A: [(2, 6)]}) == [(A, 4, 6)]
    assert common({A: [(0, 4), (8, 10)]}, {A: [(2, 10)]}) == [(A, 8, 10)]


def test_two_that_agree_on_nothing_leave_nothing_to_forget(common):
    with pytest.raises(UserError, match="found nothing sensitive"):
        common({A: [(0, 2)]}, {A: [(4, 6)]})


def test_one_long_span_shares_something_with_each_of_several(common):
    assert common({A: [(0, 12)]}, {A: [(0, 1), (1, 2), (4, 6), (9, 12)]}) == [
        (A, 0, 1),
        (A, 1, 2),
        (A, 4, 6),
        (A, 9, 12),
    ]
