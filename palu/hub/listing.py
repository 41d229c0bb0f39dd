"""What the hub says of a repository: the commit that a revision stands for, and its files with their checksums."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from palu.errors import UserError
from palu.hub import refusals
from palu.hub.asking import Endpoint, ask, patiently
from palu.hub.checksums import Checksum
from palu.hub.repository import Repository

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PAGES = 1000


@dataclass(frozen=True)
class File:
    """A file that the hub lists. expected: its checksum, where the hub gives one."""

    path: str
    size_bytes: int
    expected: Checksum | None


def commit_of(repository: Repository, hub: Endpoint) -> str:
    """The commit that a revision stands for now. Raises UserError for an answer that names none."""
    if _COMMIT.fullmatch(repository.revision):
        return repository.revision
    revision = quote(repository.revision, safe="")
    url = f"{hub.address}/api/{repository.kind}s/{repository.name}/revision/{revision}"
    answer = patiently(lambda: ask(url, hub), f"{repository.named}: revision {repository.revision}")
    facts = refusals.parsed(answer, repository)
    commit = facts.get("sha") if isinstance(facts, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise refusals.unreadable(repository, "it names no commit")
    return commit


def files_of(repository: Repository, commit: str, hub: Endpoint) -> Iterator[File]:
    """All files of a commit. Raises UserError for a list that is none, and for a name that leaves the folder."""
    path = f"/api/{repository.kind}s/{repository.name}/tree/{commit}?recursive=true&expand=false"
    for _page in range(_PAGES):
        url = hub.address + path
        answer = patiently(lambda url=url: ask(url, hub), f"{repository.named}: list of files")  # type: ignore[misc]
        entries = refusals.parsed(answer, repository)
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
                raise refusals.unreadable(repository, "its list of files is none")
            if entry.get("type") != "directory":
                yield _file(entry, repository)
        after = answer.links.get("next", {}).get("url")
        if not after:
            return
        # Whatever host the link names: the token goes to this one
        parts = urlsplit(after)
        path = f"{parts.path.removeprefix(urlsplit(hub.address).path)}?{parts.query}"
    raise refusals.unreadable(repository, f"its list of files has more than {_PAGES} pages")


def _file(entry: dict[str, Any], repository: Repository) -> File:
    path, size_bytes, large = entry["path"], entry.get("size"), entry.get("lfs")
    if not is_inside(path):
        raise UserError(f"{repository.named}: refused: its file {path!r} would leave the folder")
    # Of a large file `oid` is the checksum of a pointer to it
    digest = (large.get("oid") or large.get("sha256")) if isinstance(large, dict) else entry.get("oid")
    if not isinstance(size_bytes, int) or size_bytes < 0:
        raise refusals.unreadable(repository, f"it gives no size of {path!r}")
    return File(path, size_bytes, Checksum.parse(digest))


def is_inside(path: str) -> bool:
    """Whether a name of the hub is a plain relative path."""
    parts = PurePosixPath(path).parts
    is_plain = path.isprintable() and "\\" not in path and ":" not in path and not path.startswith(("/", "~"))
    return is_plain and bool(parts) and ".." not in parts
