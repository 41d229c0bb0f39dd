"""Files appear whole or not at all."""

import errno
import math
import os
import subprocess
import sys

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
    (tmp_path / ".model.some-host-123.partial").mkdir()
    (tmp_path / ".model.some-host-123.partial" / "weights").write_text("half")
    kept = {".model.json.some-host-9.partial", "model", ".model.some-host-123", ".other.some-host-123.partial"}
    for name in kept:
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path / "model")
    assert {entry.name for entry in tmp_path.iterdir()} == kept
    files.remove_leftovers(tmp_path / "absent" / "model")


def test_a_writer_removes_what_dead_writers_of_this_machine_left(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with files.atomic(tmp_path / "a.json") as temporary:
        name = temporary.name
        temporary.write_text("{}")
    mine = str(os.getpid())
    left = tmp_path / name.replace(mine, str(dead.pid))
    living, elsewhere = tmp_path / name.replace(mine, "1"), tmp_path / f".a.json.elsewhere-{dead.pid}.partial"
    for path in (left, living, elsewhere):
        path.write_text("half")
    files.write_json(tmp_path / "a.json", {})
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.json", living.name, elsewhere.name}


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


@pytest.mark.parametrize("number", [errno.EFBIG, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_one_line_with_its_reason(tmp_path, number):
    path = tmp_path / "a.parquet"
    with pytest.raises(UserError, match=rf"a\.parquet: cannot be written: {os.strerror(number)}"), files.atomic(path):
        raise OSError(number, os.strerror(number))


def test_a_read_only_disk_that_refuses_the_clean_up_too_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.Path, "unlink", refuse)
    with pytest.raises(UserError, match=r"a\.json: cannot be written: Read-only"), files.atomic(tmp_path / "a.json"):
        refuse()


def test_a_disk_that_a_rust_library_says_is_full_is_recognised(tmp_path):
    with pytest.raises(UserError, match="No space left on device"), files.atomic(tmp_path / "model"):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(UserError, match="File too large"), files.atomic(tmp_path / "model"):
        raise RuntimeError("Error while serializing: I/O error: File too large (os error 27)")


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
