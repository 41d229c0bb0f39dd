"""Damaged and foreign Parquet files are read or refused in one line that names them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palu import tables
from tests.fuzz.outcomes import FACTOR, IS_THOROUGH, WHOLE_TEXT, examples, refusal
from tests.fuzz.sound import rows_of

ROOT = Path(__file__).parents[2]
COUNT = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sound file of every table."""
    folder = tmp_path_factory.mktemp("tables")
    for name in tables.FIXED_SCHEMAS:
        tables.write(folder / f"{name}.parquet", name, rows_of(name), {"model": "m", "examples": "e"})
    names, positions = pa.array([f"forget/{n}" for n in range(20)]), pa.array(range(20), pa.int32())
    shape = np.arange(20 * 8)
    for name, schema, columns in (
        (
            "states",
            tables.states_schema(8, "float32"),
            [positions, pa.array(shape[:20] / 9, pa.float32()), pa.FixedSizeListArray.from_arrays(shape / 7.0, 8)],
        ),
        ("topk", tables.topk_schema(8), [pa.FixedSizeListArray.from_arrays(shape, 8)]),
    ):
        cast = [each.cast(field.type) for each, field in zip([names, positions, *columns], schema, strict=True)]
        facts = {"k": "8", "vocabulary": "9", "first_n": "3", "dtype": "float32", "layer": tables.LAST_LAYER}
        tables.write(folder / f"{name}.parquet", name, pa.Table.from_arrays(cast, schema=schema), facts, schema)
    return folder


def read_damaged(folder, seed, count):
    command = [sys.executable, "-m", "tests.fuzz.damaged_tables", str(folder), str(seed), str(count)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3000)


def test_damaged_tables_are_read_or_refused_in_one_line(folder):
    done = read_damaged(folder, 0, COUNT * FACTOR if IS_THOROUGH else COUNT)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert " refused" in done.stdout


@examples(60)
@given(st.sampled_from(sorted(tables.FIXED_SCHEMAS)), st.dictionaries(WHOLE_TEXT, WHOLE_TEXT, max_size=3), st.data())
def test_foreign_metadata_is_refused_in_one_line(folder, name, foreign, data):
    """Our name in front of anything at all."""
    path = folder / "foreign.parquet"
    table = tables.read(folder / f"{name}.parquet", name)
    key = st.sampled_from(["palu.table", "palu.version", "palu.examples", "palu.\udcff", "x"])
    value = st.one_of(st.sampled_from([name, "1", "2", "examples", ""]), WHOLE_TEXT).map(str.encode) | st.binary()
    stated = data.draw(st.dictionaries(key.map(lambda text: text.encode("utf-8", "surrogateescape")), value))
    pq.write_table(table.replace_schema_metadata(stated | foreign), path)
    for action in (lambda: tables.rows(path, name, {"examples": "e"}), lambda: tables.provenance(path)):
        told = refusal(action)
        assert told is None or told.startswith(str(path))
    path.unlink()


@examples(40)
@given(st.sampled_from(sorted(tables.FIXED_SCHEMAS)), st.data())
def test_a_table_with_other_columns_is_refused_in_one_line(folder, name, data):
    path = folder / "columns.parquet"
    table = tables.read(folder / f"{name}.parquet", name)
    column = data.draw(st.sampled_from(table.schema.names))
    place = table.schema.get_field_index(column)
    other = data.draw(st.sampled_from([pa.nulls(20), pa.array([b"\xff"] * 20), pa.array([[1]] * 20)]))
    kind = data.draw(st.sampled_from(["drop", "rename", "retype", "add", "reorder"]))
    changed = {
        "drop": lambda: table.drop_columns([column]),
        "rename": lambda: table.rename_columns({column: "x"}),
        "retype": lambda: table.set_column(place, column, other),
        "add": lambda: table.append_column("x", other),
        "reorder": lambda: table.select(table.schema.names[::-1]),
    }[kind]()
    pq.write_table(changed.replace_schema_metadata({"palu.table": name, "palu.version": "1"}), path)
    assert refusal(lambda: tables.read(path, name)).startswith(f"{path}: ")
    path.unlink()


def test_text_that_is_not_utf_8_is_refused_with_the_file(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"a\xff"]).buffers()[1:]])
    row = rows_of("generations", 1)
    table = pa.Table.from_pylist(row, schema=tables.GENERATIONS).set_column(1, tables.GENERATIONS.field(1), broken)
    path = tmp_path / "generations.parquet"
    tables.write(path, "generations", table, {})
    assert refusal(lambda: tables.rows(path, "generations")).startswith(f"{path}: a damaged Parquet file: ")
    told = refusal(lambda: [batch.to_pylist() for batch in tables.iterate(path, "generations")])
    assert told.startswith(f"{path}: a damaged Parquet file: ")
