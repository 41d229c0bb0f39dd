"""Tables that are looked up without being held."""

import pyarrow as pa
import pytest

from palu import stored, tables
from palu.errors import UserError
from palu.span_tables import read_spans
from palu.stored import ChosenRows, KeyIndex, StoredByKey, StoredRows
from palu.stretches import stretches

COUNT = 250


def written(path, count=COUNT, group=100):
    """A table of generations in row groups of `group` rows."""
    rows = [{"example_id": f"forget/{i}", "generation": f"text {i}", "token_count": i} for i in range(count)]
    groups = (pa.Table.from_pylist(rows[i : i + group], schema=tables.GENERATIONS) for i in range(0, count, group))
    stored.write_stream(path, "generations", groups, {})
    return rows


@pytest.fixture
def small_stretches(monkeypatch):
    monkeypatch.setattr(stored, "STRETCH_ROWS", 16)
    monkeypatch.setattr(stored, "HELD_STRETCHES", 2)


@pytest.mark.usefixtures("small_stretches")
@pytest.mark.parametrize("order", [range(COUNT), reversed(range(COUNT)), [0, 249, 100, 99, 0, -1]])
def test_every_row_is_found_in_any_order(tmp_path, order):
    rows = written(tmp_path / "table.parquet")
    found = StoredRows(tmp_path / "table.parquet", "generations")
    assert len(found) == COUNT
    assert all(found[i] == rows[i] for i in order)
    assert found[90:120] == rows[90:120]
    with pytest.raises(IndexError):
        found[COUNT]


@pytest.mark.usefixtures("small_stretches")
def test_only_a_few_stretches_are_decoded_at_a_time(tmp_path):
    written(tmp_path / "table.parquet")
    decoded = []

    def decode(table):
        decoded.append(len(table))
        return table.to_pylist()

    found = StoredRows(tmp_path / "table.parquet", "generations", decode=decode)
    assert len(list(found)) == COUNT
    assert max(decoded) <= 16
    assert sum(decoded) == COUNT
    assert len(found._stretches) == 2
    assert len(found._groups) <= stored.HELD_GROUPS


def test_a_damaged_row_group_is_told_when_its_rows_are_asked_for(tmp_path):
    path = tmp_path / "table.parquet"
    written(path)
    content = bytearray(path.read_bytes())
    content[40:200] = bytes(160)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"table.parquet: a damaged Parquet file"):
        list(StoredRows(path, "generations"))


def test_rows_are_found_by_their_example_and_by_no_other(tmp_path):
    rows = written(tmp_path / "table.parquet")
    found = StoredByKey(StoredRows(tmp_path / "table.parquet", "generations"))
    assert list(found) == [row["example_id"] for row in rows]
    assert found["forget/7"] == rows[7]
    assert "forget/8" in found
    assert "forget/250" not in found
    assert found.get("retain/1") is None
    assert dict(found) == {row["example_id"]: row for row in rows}


def test_a_name_that_stands_several_times_is_found_everywhere():
    assert KeyIndex(["a", "b", "a", "c", "a"]).find_all("a").tolist() == [0, 2, 4]


def test_a_name_that_stands_once_is_found_in_any_order():
    index = KeyIndex(["a", "b", "c"])
    assert [index.find(name) for name in ("b", "c", "a", "d", "a", "b")] == [1, 2, 0, None, 0, 1]


def test_spans_of_an_example_stand_in_the_order_of_the_table(tmp_path):
    rows = [("a", 3, 5), ("b", 1, 2), ("a", 0, 1)]
    spans = [
        {"example_id": key, "char_start": start, "char_end": end, "label": "x", "score": None, "tagger": "t"}
        for key, start, end in rows
    ]
    tables.write(tmp_path / "spans.parquet", "spans", spans, {})
    assert read_spans(tmp_path / "spans.parquet") == {"a": [(3, 5), (0, 1)], "b": [(1, 2)]}


def test_chosen_rows_are_those_of_their_numbers():
    chosen = ChosenRows("abcdef", [5, 0, 2])
    assert list(chosen) == ["f", "a", "c"]
    assert chosen[1:] == ["a", "c"]


def test_a_stream_without_a_row_is_an_empty_table(tmp_path):
    stored.write_stream(tmp_path / "scores.parquet", "scores", [], {})
    assert tables.rows(tmp_path / "scores.parquet", "scores") == []


def test_a_stretch_ends_at_so_many_rows_or_characters():
    assert list(stretches(["a", "b", "c", "dddd", "e"], 2, 4, len)) == [["a", "b"], ["c", "dddd"], ["e"]]
