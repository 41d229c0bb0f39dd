"""What the files of a model folder were when they were written: `palu.sha256`, in the form that `sha256sum` reads.

Weights carry no checksum of their own, and a flipped bit of them is a number like any other. The stages compare what
they read anyway; `sha256sum -c palu.sha256` in the folder compares all files.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from palu.errors import UserError
from palu.files import named_digest, sha256, write_text

SUMS = "palu.sha256"
# The model card is for people, who may edit it
CARD = "README.md"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """Write the checksum of every file of a model folder but its card."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in {CARD, SUMS})
    write_text(folder / SUMS, "".join(f"{sha256(path)}  {path.name}\n" for path in files))


def check_texts(folder: Path) -> None:
    """Compare all files but the weights: configuration and tokenizer, which are small."""
    check_sums(folder, (folder / name for name in _sums(folder) if not name.endswith(".safetensors")))


def check_sums(folder: Path, paths: Iterable[Path]) -> None:
    """Compare these files of a model folder with its checksums; one without any, not written by palu, is not checked.

    Raises UserError for a file that is not what was written, or is gone.
    """
    sums = _sums(folder)
    for path in paths:
        if path.name in sums:
            _compare(path, sha256(path) if path.is_file() else None, sums[path.name])


def checked_digest(folder: Path, paths: Iterable[Path]) -> str:
    """`palu.files.file_digest` of these files of a model folder, each read once for both. Raises the same."""
    sums = _sums(folder)
    found = {path: sha256(path) for path in paths}
    for path, digest in found.items():
        _compare(path, digest, sums.get(path.name, digest))
    for path in (folder / name for name in sums if name.endswith(".safetensors")):
        _compare(path, found.get(path), sums[path.name])
    return named_digest((path.name, digest) for path, digest in found.items())


def _compare(path: Path, found: str | None, written: str) -> None:
    if found != written:
        raise UserError(
            f"{path}: {'gone' if found is None else 'changed'} since it was written, says {SUMS}: delete the folder "
            f"and run again, or delete {SUMS} where that is meant"
        )


def _sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [_LINE.fullmatch(line) for line in text.splitlines()]
    found = {line[2]: line[1] for line in lines if line}
    if len(found) < len(lines) or "config.json" not in found or not text.endswith("\n"):
        raise UserError(f"{path}: damaged: a line is no checksum, or one is missing: delete the folder and run again")
    return found
