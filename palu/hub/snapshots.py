"""A repository of the hub at one commit, as a checked folder of the hub's own cache.

The cache is laid out as `huggingface_hub` does it (blobs named by checksum, a folder of links for each commit), so its
tools know the files, and what they downloaded is used, once checked.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id

from palu.errors import UserError
from palu.files import atomic, is_storage_failure, storage_reason, text_digest
from palu.hub import refusals
from palu.hub.asking import Endpoint, endpoint
from palu.hub.checksums import Checksum, Mismatch, checked_sha256
from palu.hub.listing import File, commit_of, files_of, is_inside
from palu.hub.repository import Repository
from palu.hub.transfer import fetch


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit, checked.

    endpoint: the hub that was asked; None where only the cache was. files: path -> sha256, size_bytes, and the kind of
    checksum that it was compared with (none: the hub gives no such thing).
    """

    folder: Path
    repository: str
    revision: str
    commit: str
    endpoint: str | None
    files: dict[str, dict[str, str | int | None]]

    def record(self) -> dict[str, Any]:
        """Where the files came from, as plain values: no credentials, no path of this machine."""
        facts = ("repository", "revision", "commit", "endpoint", "files")
        return {name: getattr(self, name) for name in facts}


# What this process has: all of it reads one commit of a branch
_had: dict[tuple[str, str, str], Snapshot] = {}


def snapshot(repository: Repository) -> Snapshot:
    """The wanted files of a repository, fetched where they are not in the cache, and checked.

    A branch that cannot be looked up now is what it was when it was last seen. Raises UserError in one line for
    what the hub, the network or the disk refuses, for a wrong checksum, and for a file name that leaves the folder.
    """
    key = (repository.kind, repository.name, repository.revision)
    if key not in _had:
        _check_names(repository)
        try:
            _had[key] = _cached(repository) if constants.HF_HUB_OFFLINE else _fetched(repository, endpoint())
        except (httpx2.HTTPError, httpx2.InvalidURL, HfHubHTTPError) as error:
            raise refusals.of(error, repository, get_token() is not None) from None
        except OSError as error:
            if not is_storage_failure(error):
                raise
            reason = storage_reason(error)
            raise UserError(f"{repository.named}: cannot be stored in the hub's cache: {reason}") from None
    return _had[key]


def _check_names(repository: Repository) -> None:
    try:
        validate_repo_id(repository.name)
    except HFValidationError:
        raise UserError(f"{repository.named} is neither a folder nor a hub id such as 'owner/name'") from None
    if not is_inside(repository.revision):
        raise UserError(
            f"{repository.named}: revision {repository.revision!r} is no name of one; allowed: a commit, tag or branch"
        )


def _fetched(repository: Repository, hub: Endpoint) -> Snapshot:
    try:
        commit = commit_of(repository, hub)
        files = list(files_of(repository, commit, hub))
    except (httpx2.TransportError, HfHubHTTPError) as error:
        if not refusals.is_unreachable(error):
            raise
        try:
            found = _cached(repository)
        except UserError:
            raise error from None
        refusals.tell_last_known(repository, found.commit)
        return found
    refusals.check_weights(repository, [file.path for file in files])
    names = set(repository.wanted(file.path for file in files))
    wanted = [file for file in files if file.path in names]
    folder = repository.cache / "snapshots" / commit
    blobs = {file.path: repository.cache / "blobs" / _blob_name(file, commit) for file in wanted}
    absent = [file for file in wanted if not (folder / file.path).exists() and not blobs[file.path].exists()]
    if absent:
        _check_space(repository, absent)
    for file in absent:
        blob = blobs[file.path]
        lock = repository.cache.parent / ".locks" / repository.cache.name / f"{blob.name}.lock"
        url = f"{hub.address}/{_kind_in_url(repository)}{repository.name}/resolve/{commit}/{quote(file.path)}"
        fetch(url, file.size_bytes, file.expected, blob, lock, f"{repository.named}: {file.path}", hub)
    # Only now, so that a commit's folder is whole or is not there
    for file in wanted:
        _link(blobs[file.path], folder / file.path)
    _remember(repository, commit)
    return _checked(repository, folder, hub.address, {file.path: file.expected for file in wanted})


def _blob_name(file: File, commit: str) -> str:
    return file.expected.digest if file.expected else f"unchecked-{text_digest(f'{commit}/{file.path}', digits=16)}"


def _kind_in_url(repository: Repository) -> str:
    return "datasets/" if repository.kind == "dataset" else ""


def _check_space(repository: Repository, absent: list[File]) -> None:
    needed_bytes = sum(file.size_bytes for file in absent)
    repository.cache.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(repository.cache).free
    if needed_bytes > free_bytes:
        raise UserError(
            f"{repository.named}: needs {needed_bytes / 1e9:.1f} GB, and {free_bytes / 1e9:.1f} GB are free where the "
            f"hub's cache lies; allowed: HF_HOME on a larger disk"
        )
    refusals.tell_start(repository, len(absent), needed_bytes)


def _link(blob: Path, pointer: Path) -> None:
    if pointer.exists():
        return
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except FileExistsError:
        return
    except OSError:
        # Some file systems have no links
        shutil.copyfile(blob, pointer)


def _remember(repository: Repository, commit: str) -> None:
    """Note in the cache what a branch stands for, to be read when the hub cannot be asked."""
    ref = repository.cache / "refs" / repository.revision
    if repository.revision == commit or (ref.is_file() and ref.read_text(encoding="utf-8") == commit):
        return
    # A cache that others wrote may be one that is only read
    with suppress(UserError), atomic(ref) as temporary:
        temporary.write_text(commit, encoding="utf-8")


def _cached(repository: Repository) -> Snapshot:
    """What the cache has of a repository, without a request; a file's checksum is the name of its blob."""
    try:
        found = snapshot_download(
            repository.name,
            repo_type=repository.kind,
            revision=repository.revision,
            local_files_only=True,
            allow_patterns=[*repository.allow],
            ignore_patterns=[*repository.ignore],
        )
    except LocalEntryNotFoundError:
        raise refusals.not_cached(repository) from None
    folder = Path(found)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = repository.wanted(path.relative_to(folder).as_posix() for path in paths)
    expected = {
        name: Checksum.parse(Path(os.readlink(folder / name)).name) if (folder / name).is_symlink() else None
        for name in names
    }
    if not names:
        raise refusals.not_cached(repository)
    return _checked(repository, folder, None, expected)


def _checked(
    repository: Repository, folder: Path, address: str | None, expected: dict[str, Checksum | None]
) -> Snapshot:
    files: dict[str, dict[str, str | int | None]] = {}
    for name, checksum in expected.items():
        path = folder / name
        try:
            digest = checked_sha256(path, checksum)
        except Mismatch as error:
            if path.is_symlink():
                (path.parent / os.readlink(path)).unlink(missing_ok=True)
            path.unlink()
            raise UserError(
                f"{repository.named}: {name} in the hub's cache is damaged: {error}; it was removed: run again to "
                f"fetch it anew"
            ) from None
        compared = checksum.algorithm if checksum else None
        files[name] = {"sha256": digest, "size_bytes": path.stat().st_size, "compared": compared}
    return Snapshot(folder, repository.name, repository.revision, folder.name, address, files)
