"""A table is checked when it is read and appears whole or not at all."""

import numpy as np
import pyarrow as pa
import pytest

from palu import parquet, tables
from palu.errors import UserError

SPAN = {"example_id": "a", "char_start": 1, "char_end": 3, "label": "name", "score": None, "tagger": "gold"}


@pytest.fixture
def spans(tmp_path):
    path = tmp_path / "spans.parquet"
    tables.write(path, "spans", [SPAN], {"examples": "abc"})
    return path


def test_rows_come_back_as_they_were_written(spans):
    assert tables.rows(spans, "spans", {"examples": "abc"}) == [SPAN]
    assert tables.provenance(spans) == {"table": "spans", "version": "1", "examples": "abc"}


def test_an_empty_table_keeps_its_schema(tmp_path):
    tables.write(tmp_path / "empty.parquet", "spans", [], {})
    assert tables.read(tmp_path / "empty.parquet", "spans").schema.names == tables.SPANS.names


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.parquet: no such file"):
        tables.read(tmp_path / "absent.parquet", "spans")


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_truncated_file_is_named(spans, kept):
    spans.write_bytes(spans.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"spans\.parquet: not a readable Parquet file \(truncated\?\)"):
        tables.read(spans, "spans")


def test_damaged_bytes_are_refused(tmp_path):
    path = tmp_path / "spans.parquet"
    tables.write(path, "spans", [SPAN | {"example_id": f"example {i}"} for i in range(3000)], {})
    data = bytearray(path.read_bytes())
    data[60:400] = bytes(340)
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"spans\.parquet: (a damaged|not a readable) Parquet file"):
        tables.read(path, "spans")


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "spans.parquet"
    tables.write(path, "spans", [SPAN | {"score": 1 / (i + 1)} for i in range(40)], {"examples": "abc"})
    good, rows = path.read_bytes(), tables.read(path, "spans")
    pages_end = max(
        column.total_compressed_size + (column.dictionary_page_offset or column.data_page_offset)
        for column in map(pa.parquet.ParquetFile(path).metadata.row_group(0).column, range(rows.num_columns))
    )
    refused = 0
    for place in range(pages_end):
        data = bytearray(good)
        data[place] ^= 1 << place % 8
        path.write_bytes(bytes(data))
        try:
            assert tables.read(path, "spans").equals(rows), place
        except UserError:
            refused += 1
    assert refused > pages_end / 2


def test_the_same_rows_are_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        tables.write(tmp_path / name, "spans", [SPAN | {"char_start": i} for i in range(2000)], {"examples": "abc"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_table_of_another_name_is_refused(spans):
    with pytest.raises(UserError, match=r"holds 'spans', expected the table 'examples'"):
        tables.read(spans, "examples")


def test_another_schema_version_is_refused(spans, monkeypatch):
    monkeypatch.setitem(tables.SCHEMA_VERSIONS, "spans", 2)
    with pytest.raises(UserError, match="has schema version 1, this program reads 2"):
        tables.read(spans, "spans")


def test_another_model_is_refused(spans):
    with pytest.raises(UserError, match="made with examples 'abc', but 'def' is in use"):
        tables.read(spans, "spans", {"examples": "def"})
    with pytest.raises(UserError, match="made with model None"):
        next(tables.iterate(spans, "spans", {"model": "m"}))


def test_a_foreign_parquet_is_refused(tmp_path):
    pa.parquet.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="holds 'no table of ours'"):
        tables.read(tmp_path / "x.parquet", "spans")


def test_a_null_where_none_is_allowed_writes_nothing(tmp_path):
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        tables.write(tmp_path / "spans.parquet", "spans", [SPAN | {"label": None}], {})
    assert list(tmp_path.iterdir()) == []


def test_a_failing_producer_leaves_the_old_table(spans):
    before = spans.read_bytes()
    with pytest.raises(RuntimeError), tables.writer(spans, "spans", {}) as parquet:
        parquet.write_table(pa.Table.from_pylist([SPAN], schema=tables.SPANS))
        raise RuntimeError
    assert spans.read_bytes() == before


def test_iterate_streams_in_batches(tmp_path):
    path = tmp_path / "spans.parquet"
    tables.write(path, "spans", [SPAN | {"char_start": i} for i in range(10)], {})
    batches = list(tables.iterate(path, "spans", batch_rows=4))
    assert [batch.num_rows for batch in batches] == [4, 4, 2]
    assert batches[2].column("char_start").to_pylist() == [8, 9]


def test_the_width_and_element_type_of_states_follow_the_model():
    assert tables.states_schema(8, "bfloat16").field("hidden").type == pa.list_(pa.uint32(), 4)
    assert tables.states_schema(8, "float32").field("hidden").type == pa.list_(pa.float32(), 8)
    with pytest.raises(ValueError, match="allowed: float32, bfloat16, float16"):
        tables.states_schema(8, "int8")
    with pytest.raises(ValueError, match="width 7 of bfloat16 states; allowed: an even number"):
        tables.states_schema(7, "bfloat16")
    assert tables.topk_schema(5).field("token_ids").type == pa.list_(pa.int32(), 5)


def test_a_streamed_table_is_never_in_memory_as_a_whole(tmp_path):
    width, per_batch, batches = 64, 256, 60
    schema = tables.states_schema(width, "float32")
    numbers = np.random.default_rng(0).random((per_batch, width), dtype=np.float32)
    with tables.writer(tmp_path / "states.parquet", "states", {}, schema) as parquet:
        for i in range(batches):
            ones = pa.array(np.full(per_batch, i, dtype=np.int32))
            hidden = pa.FixedSizeListArray.from_arrays(pa.array((numbers + i).reshape(-1)), width)
            columns = [pa.array(["e"] * per_batch), ones, ones, ones.cast(pa.float32()), hidden]
            parquet.write_batch(pa.RecordBatch.from_arrays(columns, schema=parquet.schema))
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in tables.iterate(tmp_path / "states.parquet", "states")]
    assert len(held) >= batches * per_batch // 1024
    assert max(held) < numbers.nbytes * batches / 4


def test_too_little_memory_is_not_told_as_damage(tmp_path):
    with pytest.raises(MemoryError), parquet.damage_told(tmp_path / "sound.parquet"):
        raise pa.ArrowMemoryError("realloc of size 8192 failed")
