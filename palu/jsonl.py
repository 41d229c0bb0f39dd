"""Files of one JSON object a line, read as a stream: a mistake is one line that names the file and the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from palu import errors
from palu.errors import UserError

# A line is held in memory whole, so that there must be a limit: 16 MiB, more than the longest novels.
LONGEST_LINE = 2**24
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# As much of a wrong value as an error shows.
_SHOWN_CHARACTERS = 60


def check_file(path: Path) -> None:
    """Raise UserError unless `path` is a file that holds something."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; allowed: a file of one JSON object a line")
    if not path.is_file():
        raise UserError(f"{path}: no such file (looked for from {Path.cwd().name!r}, the folder of this run)")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty; allowed: a file of one JSON object a line")


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line) of every line that is not blank, counted from 1, without a byte order mark at the file's start.

    Of a line over `LONGEST_LINE` bytes only the beginning is given, one byte too long for `json_object`.
    Raises UserError where `check_file` does, and for a file that cannot be read.
    """
    check_file(path)
    try:
        with path.open("rb") as handle:
            number = 0
            while line := handle.readline(LONGEST_LINE + 1):
                number += 1
                while not line.endswith(b"\n") and len(line) > LONGEST_LINE:
                    rest = handle.readline(LONGEST_LINE)
                    if not rest or rest.endswith(b"\n"):
                        break
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if line.strip():
                    yield number, line
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def json_object(line: bytes, place: str) -> dict[str, Any]:
    """The object that a line holds. place: the file and the line, for errors.

    Raises UserError for a line that is too long, not UTF-8, not JSON (NaN and infinity are not), not an object, or
    has a key twice.
    """
    if len(line) > LONGEST_LINE:
        raise UserError(f"{place}: is longer than {LONGEST_LINE} bytes; allowed: up to that; cut the document in two")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {line[error.start]:#04x} at {error.start}"
        raise UserError(f"{place}: is not UTF-8 text ({byte}); allowed: UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not valid JSON: {error.msg} at column {error.colno}: {shown(text)}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{place}: {shown(value)} is not an object; allowed: keys and values in braces")
    return value


def shown(value: Any) -> str:
    """A value for an error, without white space around it, and cut where it is long."""
    return errors.shown(value.strip() if isinstance(value, str) else value, _SHOWN_CHARACTERS)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return values


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_distinct)
