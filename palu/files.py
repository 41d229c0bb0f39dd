"""Files written whole or not at all, and the digests that tell two of them apart."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palu.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` (for a file or a folder) and rename it to `path` on success.

    On any failure the temporary is removed and `path` stays what it was. Raises UserError on a full disk or a folder
    that cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        if is_storage_failure(error):
            raise UserError(f"{path}: cannot be written: {storage_reason(error)}") from error
        raise


def remove_leftovers(path: Path) -> None:
    """Remove what writers of `path` that were killed left beside it. Only for who knows that nobody writes it now."""
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+\.partial")
    for left in path.parent.glob(".*.partial"):
        if not name.fullmatch(left.name):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def is_storage_failure(error: BaseException) -> bool:
    """Whether the machine's storage, not the program, refused a write (full, read-only, no permission)."""
    refused = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
    if isinstance(error, OSError) and error.errno in refused:
        return True
    # safetensors and tokenizers report a full disk as text, from Rust
    return f"os error {errno.ENOSPC}" in str(error)


def storage_reason(error: BaseException) -> str:
    """The operating system's own words for `error`."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return os.strerror(errno.ENOSPC)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys; NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError naming the file when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        # a number of more digits than Python reads is a ValueError too
        raise UserError(f"{path}: not valid JSON: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def text_digest(text: str, digits: int = 8) -> str:
    """The first `digits` hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:digits]


def canonical_json(value: Any) -> str:
    """`value` as one line of key-sorted JSON: equal settings give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def file_digest(*paths: Path, digits: int = 16) -> str:
    """The first `digits` hexadecimal digits of the SHA-256 over the names and bytes of `paths`, in name order."""
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        with path.open("rb") as handle:
            total.update(path.name.encode() + b"\0" + hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()[:digits]
