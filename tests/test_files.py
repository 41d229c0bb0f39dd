"""Files appear whole or not at all."""

import errno
import math

import pytest

from palu import files
from palu.errors import UserError


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(ZeroDivisionError), files.atomic(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert files.read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_folder_leaves_no_litter(tmp_path):
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".model.123.partial").mkdir()
    (tmp_path / ".model.123.partial" / "weights").write_text("half")
    for name in (".model.json.9.partial", "model", ".model.123", ".other.123.partial"):
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path / "model")
    kept = {".model.json.9.partial", "model", ".model.123", ".other.123.partial"}
    assert {entry.name for entry in tmp_path.iterdir()} == kept
    files.remove_leftovers(tmp_path / "absent" / "model")


def test_a_folder_replaces_an_older_one_whole(tmp_path):
    target = tmp_path / "model"
    for name in ("old", "new"):
        with files.atomic(target) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [entry.name for entry in target.iterdir()] == ["new"]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(UserError, match=r"a\.parquet: cannot be written: No space left on device"), files.atomic(path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_told_by_a_rust_library_is_recognised(tmp_path):
    with pytest.raises(UserError, match="No space left on device"), files.atomic(tmp_path / "model"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_json_refuses_numbers_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"loss": math.nan})
    assert not (tmp_path / "a.json").exists()


def test_broken_json_is_one_line_that_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"a\.json: not valid JSON"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b\.json: no such file"):
        files.read_json(tmp_path / "b.json")


def test_canonical_json_ignores_key_order_and_sees_swapped_values():
    assert files.canonical_json({"a": 1, "b": 2}) == files.canonical_json({"b": 2, "a": 1})
    assert files.canonical_json({"a": 1, "b": 2}) != files.canonical_json({"a": 2, "b": 1})


def test_a_files_digest_changes_with_its_bytes_and_its_name(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x")
    two.write_bytes(b"x")
    first = files.file_digest(one)
    assert first != files.file_digest(two)
    one.write_bytes(b"y")
    assert files.file_digest(one) != first
