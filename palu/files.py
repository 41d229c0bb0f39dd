"""Files written whole or not at all, and the digests that tell two of them apart."""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from palu.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` (for a file or a folder) and rename it to `path` on success.

    On any failure the temporary is removed and `path` stays what it was; what writers of it left that were killed on
    this machine is removed too. Raises UserError on a full disk or a folder that cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path, of_the_living=False)
        yield temporary
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            # a disk that became read-only refuses this too, and it is the first refusal that is told
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if is_storage_failure(error):
            raise UserError(f"{path}: cannot be written: {storage_reason(error)}") from error
        raise


def remove_leftovers(path: Path, of_the_living: bool = True) -> None:
    """Remove what writers of `path` that were killed left beside it.

    of_the_living: also what belongs to a process that runs now, or to one of another machine, of which nobody here
    can say. Only for who knows that nobody writes the file.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.(?P<host>[\w-]+)-(?P<process>\d+)\.partial")
    for left in path.parent.glob(".*.partial"):
        found = name.fullmatch(left.name)
        if not found or not (of_the_living or (found["host"] == _host() and not _is_running(int(found["process"])))):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _host() -> str:
    """This machine's name, as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:32] or "here"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


# A disk or folder that is full, read-only, failing or forbidden, and a file that may not be so large
_REFUSED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO}
)


def is_storage_failure(error: BaseException) -> bool:
    """Whether the machine's storage, not the program, refused a write (full, read-only, failing, no permission)."""
    return _error_number(error) in _REFUSED


def storage_reason(error: BaseException) -> str:
    """The operating system's own words for `error`."""
    return os.strerror(_error_number(error) or errno.ENOSPC)


def _error_number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    # safetensors and tokenizers report it as text, from Rust
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, its line ends as they are."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError naming the file when it is missing, cannot be read or is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    # text that is not JSON or not UTF-8, a whole number of thousands of digits; lists in lists in lists
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None


def text_digest(text: str, digits: int = 8) -> str:
    """The first `digits` hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:digits]


def canonical_json(value: Any) -> str:
    """`value` as one line of key-sorted JSON: equal settings give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_digest(*paths: Path, digits: int = 16) -> str:
    """The first `digits` hexadecimal digits of the SHA-256 over the names and bytes of `paths`, in name order."""
    return named_digest([(path.name, sha256(path)) for path in paths], digits)


def named_digest(sums: Iterable[tuple[str, str]], digits: int = 16) -> str:
    """The same for files whose names and `sha256` are known."""
    total = hashlib.sha256()
    for name, digest in sorted(sums, key=lambda pair: pair[0]):
        total.update(name.encode() + b"\0" + bytes.fromhex(digest))
    return total.hexdigest()[:digits]
