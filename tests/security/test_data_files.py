"""Rows may be anybody's: no file of theirs is too long, too deep or too cunning to be told of in one line."""

import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from palu import parquet, tables
from palu.benchmarks import custom, tofu
from palu.benchmarks.source import Source
from palu.cli import main
from palu.errors import UserError
from palu.tagging.annotations import annotated
from palu.tagging.base import Resources
from tests.security.hostile import ESCAPES, Pickled, code_that_touches, refusal

ROW = {"question": "What does Ada grow?", "answer": "Ada grows beans."}


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A local folder with one table, `full`."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "full.json").write_text(json.dumps(ROW))
    listed(folder, "full.json")
    return folder


def listed(folder: Path, data_files: object, **others: object) -> None:
    configs = [{"config_name": "full", "data_files": data_files, **others}]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")


def read(folder: Path) -> list:
    return Source(str(folder), None, "benchmark tofu", "TOFU", folder.parent / "scratch").read("full", ("question",))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        read(folder)
    return refusal(error)


def test_a_sound_folder_is_still_read(dataset):
    assert read(dataset) == [ROW]


@pytest.mark.parametrize(
    "data_files",
    [
        "../secret.json",
        "sub/../../secret.json",
        ["full.json", "https://example.org/x.json"],
        [{"split": "train", "path": "hf://datasets/a/b/x.json"}],
        [{"split": "train", "path": ["zip://x.json::full.zip"]}],
        "file:///etc/passwd",
        "/etc/passwd",
    ],
)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_a_list_of_tables_that_leaves_the_folder_is_refused_before_anything_is_asked(dataset, data_files, name):
    (dataset.parent / "secret.json").write_text(json.dumps(ROW))
    listed(dataset, data_files)
    if name != "README.md":
        configs = (dataset / "README.md").read_text().strip("-\n")
        (dataset / name).write_text(configs)
        listed(dataset, "full.json")
    assert f"{name}: configs: " in refused(dataset)


@pytest.mark.parametrize(
    "text",
    ["---\nconfigs: [\n---\n", "---\nconfigs: !!python/object/apply:os.system [true]\n---\n", "---\n- 1\n---\n"],
)
def test_a_list_that_is_no_plain_yaml_is_one_line(dataset, text):
    (dataset / "README.md").write_text(text)
    assert "README.md" in refused(dataset)


def test_a_list_of_aliases_that_repeat_aliases_is_refused(dataset):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (dataset / "README.md").write_text("\n".join(["---", *lines, "configs: *a8", "---", ""]))
    assert "holds more than 1000000 values" in refused(dataset)


def test_an_archive_is_not_unpacked(dataset):
    with zipfile.ZipFile(dataset / "full.zip", "w") as archive:
        archive.writestr("full.json", json.dumps(ROW))
    listed(dataset, "full.zip")
    assert "full.zip: is no table of the folder; allowed: files in it named .json" in refused(dataset)
    assert not list((dataset.parent / "scratch").rglob("full.json"))


def test_code_and_pickles_in_a_folder_are_not_run(dataset, canary):
    for name in ("full.py", "__init__.py"):
        (dataset / name).write_text(code_that_touches(canary))
    (dataset / "full.pkl").write_bytes(pickle.dumps(Pickled(canary)))
    assert read(dataset) == [ROW]
    (dataset / "dataset.py").write_text(code_that_touches(canary))
    assert "scripts are no longer supported" in refused(dataset)
    (dataset / "dataset.py").unlink()
    listed(dataset, "full.pkl")
    refused(dataset)


def test_a_line_of_a_quarter_gigabyte_is_a_mistake_that_costs_little_memory(tmp_path):
    path = tmp_path / "forget.jsonl"
    with path.open("wb") as handle:
        # sparse: it takes no room on the disk
        handle.truncate(2**28)
    settings = custom.Settings(forget=str(path), retain=None)
    tracemalloc.start()
    with pytest.raises(UserError) as error:
        list(custom.examples(settings))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "line 1: is longer than 16777216 bytes" in refusal(error)
    assert peak < 2**27


def repeated(path: Path, rows: int) -> Path:
    """A small file of one column that holds one text `rows` times, and says so."""
    schema = pa.schema([pa.field("prompt", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        batch = pa.table({"prompt": ["x" * 1000] * 20_000}, schema=schema)
        for _ in range(rows // 20_000):
            writer.write_table(batch)
    return path


def test_a_parquet_file_that_unpacks_to_more_than_memory_is_refused_unread(tmp_path, monkeypatch):
    path = repeated(tmp_path / "bomb.parquet", 200_000)
    parquet.check_foreign(path)
    monkeypatch.setattr(parquet, "MOST_BYTES", 2**20)
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError) as error:
        list(annotated([], str(path), Resources()))
    assert "200000 rows that unpack to 2" in refusal(error)
    monkeypatch.setattr(parquet, "MOST_ROWS", 1000)
    monkeypatch.setattr(parquet, "MOST_BYTES", 2**40)
    with pytest.raises(UserError, match="allowed: 1000 rows"):
        parquet.check_foreign(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 64 + b"PAR1", b"\0" * 100])
def test_a_file_that_is_no_parquet_is_one_line(tmp_path, content):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    for look in (parquet.foreign_rows, lambda place: tables.rows(place, "spans")):
        with pytest.raises(UserError) as error:
            look(path)
        assert "not a readable Parquet file" in refusal(error)


def test_a_table_of_other_columns_under_our_name_is_refused(tmp_path):
    path = tmp_path / "spans.parquet"
    schema = pa.schema([pa.field("example_id", pa.int64())], metadata={"palu.table": "spans", "palu.version": "1"})
    pq.write_table(pa.table({"example_id": [1]}, schema=schema), path)
    with pytest.raises(UserError, match="the columns of table 'spans' are not those of schema version 1"):
        tables.read(path, "spans")
    schema = pa.schema([pa.field("example_id", pa.int64())], metadata={"palu.table": "spans"})
    pq.write_table(pa.table({"example_id": [1]}, schema=schema), path)
    with pytest.raises(UserError, match="schema version None"):
        tables.read(path, "spans")


HOSTILE_NAMES = [
    "../../x",
    "/etc/passwd",
    "a/../../b",
    "CON",
    "x" * 5000,
    "\u202egpj.exe",
    "раlu",
    f"{ESCAPES}",
    "-rf",
    "$(id)",
]


def test_ids_and_groups_of_rows_name_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"Question {number}?", "reply": "Beans.", "id": name, "group": name, "spans": [[0, 5]]}
        for number, name in enumerate(HOSTILE_NAMES)
    ]
    Path("forget.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ["--set", "forget=forget.jsonl", "--set", "retain=null"]
    assert (
        main(
            ["benchmark", "--name", "custom", *settings, "--out", "out/rows.parquet", "--gold-out", "out/gold.parquet"]
        )
        == 0
    )
    words = ["--examples", "out/rows.parquet", "--gold", "out/gold.parquet", "--out", "out/tags.parquet"]
    assert main(["tag", "--tagger", "annotations", *words]) == 0
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {"forget.jsonl", "out/rows.parquet", "out/gold.parquet", "out/tags.parquet", "out/tags.json"}
    assert {row["group"] for row in tables.rows(Path("out/rows.parquet"), "examples")} == set(HOSTILE_NAMES)


def test_the_benchmarks_that_read_a_hostile_folder_stop_in_one_line(dataset):
    listed(dataset, "../x.json")
    with pytest.raises(UserError, match=r"README\.md: configs: '../x.json'"):
        list(tofu.examples(tofu.Settings(source=str(dataset))))
