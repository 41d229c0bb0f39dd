"""One file from the hub into its cache: from where an earlier try ended; in place only when its checksum is right."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
from huggingface_hub.utils import WeakFileLock, hf_raise_for_status

from palu.errors import UserError
from palu.hub.asking import Endpoint, patiently, session, timeout_seconds
from palu.hub.checksums import Checksum, Mismatch, checked_sha256


def fetch(
    url: str, size_bytes: int, expected: Checksum | None, blob: Path, lock: Path, what: str, hub: Endpoint
) -> None:
    """Write the file at `url` to `blob`, whole and checked, or leave there what it was.

    What arrived of an interrupted download stays beside it and is not asked for again, also by a later process.
    lock: a file that keeps other processes from the same download. what: names the file in messages.
    Raises UserError for a wrong checksum or size, and what the last of several tries raised.
    """
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    partial = blob.with_name(f"{blob.name}.incomplete")
    with WeakFileLock(lock):
        if blob.exists():
            return
        patiently(lambda: _receive(url, size_bytes, partial, what, hub), what, lambda: _size_bytes(partial))
        try:
            checked_sha256(partial, expected)
        except Mismatch as error:
            partial.unlink()
            raise UserError(f"{what}: damaged on its way: {error}; removed: run again to fetch it anew") from None
        os.replace(partial, blob)


def _receive(url: str, size_bytes: int, partial: Path, what: str, hub: Endpoint) -> None:
    """Add to `partial` what it lacks of the file's bytes."""
    have = _size_bytes(partial)
    if have > size_bytes:
        partial.unlink()
        have = 0
    if have == size_bytes:
        partial.touch()
        return
    # A compressed answer could not be continued
    headers = hub.headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session().stream("GET", url, headers=headers, timeout=timeout_seconds()) as answer:
        if answer.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE:
            partial.unlink(missing_ok=True)
            raise httpx2.RemoteProtocolError("the hub refuses to continue")
        hf_raise_for_status(answer)
        start = have if _continues(answer, have) else 0
        announced = answer.headers.get("Content-Length", "")
        if announced.isdigit() and start + int(announced) != size_bytes and "Content-Encoding" not in answer.headers:
            raise UserError(f"{what}: the hub lists {size_bytes} bytes and sends {start + int(announced)}")
        with partial.open("r+b" if start else "wb") as handle:
            handle.seek(start)
            for chunk in answer.iter_bytes():
                if handle.tell() + len(chunk) > size_bytes:
                    raise UserError(f"{what}: the hub lists {size_bytes} bytes and sends more")
                handle.write(chunk)
    if _size_bytes(partial) < size_bytes:
        raise httpx2.RemoteProtocolError("the answer ended early")


def _continues(answer: httpx2.Response, have: int) -> bool:
    """Whether the answer begins at byte `have`; else it is the whole file."""
    if answer.status_code != httpx2.codes.PARTIAL_CONTENT:
        return False
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise httpx2.RemoteProtocolError("another part of the file than asked for")
    return True


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
