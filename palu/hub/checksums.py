"""Checksums of files as the hub knows them: SHA-256 of large files, and the name that git gives a small one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Checksum:
    """What a file's bytes must be. git-sha1: SHA-1 over `blob {size}`, a zero byte and the bytes."""

    algorithm: Literal["sha256", "git-sha1"]
    digest: str

    @classmethod
    def parse(cls, digest: object) -> Checksum | None:
        """The checksum that is written in 40 (git) or 64 hexadecimal digits; None for anything else."""
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest):
            return None
        return cls("sha256" if len(digest) == 64 else "git-sha1", digest)


class Mismatch(Exception):
    """A file is not what the hub says it is. The message gives both checksums."""


# Device, inode, bytes and time of change of a file -> its SHA-256: a large file is read once in a process
_known: dict[tuple[int, int, int, int], str] = {}


def checked_sha256(path: Path, expected: Checksum | None) -> str:
    """The SHA-256 of a file, in hexadecimal digits, after the comparison with what is expected of it.

    Raises Mismatch.
    """
    found = path.stat()
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    if key not in _known:
        _known[key] = _digest(path, hashlib.sha256())
    if expected is not None:
        git = hashlib.sha1(f"blob {found.st_size}\0".encode(), usedforsecurity=False)
        actual = _known[key] if expected.algorithm == "sha256" else _digest(path, git)
        if actual != expected.digest:
            raise Mismatch(f"its {expected.algorithm} is {actual}, the hub's {expected.digest}")
    return _known[key]


def _digest(path: Path, total: hashlib._Hash) -> str:
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()
