"""Datasets and models of the hub, as checked folders of the hub's own cache.

huggingface_hub resolves a branch to a commit, downloads, tries again, locks, and reads its cache offline. Here each
file is compared with the hub's checksum before anything reads it, and each failure is one line (docs/hub.md).
Libraries load when something is fetched: studies are read at every start of Snakemake.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from palu.errors import UserError, first_line
from palu.files import is_storage_failure, sha256, storage_reason

# What datasets and models are made of; archives, pickles and programs are never fetched. "consolidated" files repeat
# the weights in another program's layout
_FILES: dict[str, dict[str, Any]] = {
    "dataset": {"allow_patterns": ["*.json", "*.jsonl", "*.csv", "*.parquet", "*.txt", "README.md"]},
    "model": {
        "allow_patterns": ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"],
        "ignore_patterns": ["*/*", "consolidated*"],
    },
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_REVISION = re.compile(r"(?!.*\.\.)[\w.][\w./-]*")


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit, checked.

    endpoint: the hub's address without credentials; None where HF_HUB_OFFLINE is set. files: path -> sha256,
    size_bytes and compared, the kind of checksum that the hub gave for it (none: it gave none).
    """

    folder: Path
    repository: str
    revision: str
    commit: str
    endpoint: str | None
    files: dict[str, dict[str, str | int | None]]

    def record(self) -> dict[str, Any]:
        """Where the files came from, as plain values: no credentials, no path of this machine."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}


@dataclass(frozen=True)
class _Wanted:
    """kind: model or dataset. named: what errors call it. instead: what a user may do without the hub."""

    name: str
    kind: str
    revision: str
    named: str
    instead: str


def dataset_folder(source: str, revision: str | None, place: str, layout: str) -> Path:
    """The hub's dataset as a folder of the hub's cache, named after its commit. HF_HUB_OFFLINE is honoured.

    place: what to name in errors, such as `benchmark tofu`. layout: whose layout a local folder would have instead.
    Raises UserError where the source is neither a folder nor a dataset that can be had, and for a wrong checksum.
    """
    named, instead = f"{place}: source {source!r}", f"give a local folder in {layout}'s layout as `source`"
    return _snapshot(_Wanted(source, "dataset", revision or "main", named, instead)).folder


def model_snapshot(name: str, revision: str | None) -> Snapshot:
    """The hub's model `name` (configuration, tokenizer, safetensors) in the hub's cache, and what it was made of.

    Raises UserError where it is neither a folder nor a model that can be had, and for a wrong checksum.
    """
    if Path(name).is_absolute() or Path(name).exists() or not _HUB_ID.fullmatch(name):
        raise UserError(f"{name}: no such model folder; allowed: a local folder or a hub id such as owner/name")
    found = _snapshot(_Wanted(name, "model", revision or "main", name, "give a local folder"))
    if not any(path.endswith(".safetensors") for path in found.files):
        raise UserError(f"{name}: a model without weights: no *.safetensors on the hub; pickles are never fetched")
    return found


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def is_cached(name: str, revision: str | None, kind: str) -> bool:
    """Whether the hub's cache holds files of a repository; the hub is not asked. kind: model or dataset."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    options = {"repo_type": kind, "revision": revision, "local_files_only": True, **_FILES[kind]}
    try:
        snapshot_download(name, **options)
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return True


@cache
def _snapshot(wanted: _Wanted) -> Snapshot:
    """Download what the cache lacks, and check all of it: once, so that this process reads one commit of a branch.

    Raises UserError.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    if not _HUB_ID.fullmatch(wanted.name):
        raise UserError(f"{wanted.named} is neither a folder nor a hub id such as 'owner/name'")
    if not _REVISION.fullmatch(wanted.revision):
        raise UserError(
            f"{wanted.named}: revision {wanted.revision!r} is no name of one; allowed: a commit, tag or branch"
        )
    address, access = _access()
    # otherwise each request names the programs of this machine
    constants.HF_HUB_DISABLE_TELEMETRY = True
    kind, patterns = wanted.kind, _FILES[wanted.kind]
    try:
        # of a hub that cannot be reached this gives the commit that was last seen, and says so
        commit = HfApi(address, **access).resolve_revision(
            wanted.name, repo_type=kind, revision=wanted.revision, local_files_only=is_offline()
        )
        options = {"repo_type": kind, "endpoint": address, **patterns, **access}
        folder = Path(snapshot_download(wanted.name, revision=commit, **options))
    except Exception as error:
        # the library has no one kind of error, and its texts may name addresses
        raise _refusal(error, wanted) from None
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = list(filter_repo_objects(paths, **patterns))
    if not names:
        raise UserError(f"{wanted.named}: the hub's {kind} has no file of {', '.join(patterns['allow_patterns'])}")
    files = {name: _checked(folder / name, f"{wanted.named}: {name}") for name in names}
    asked = None if is_offline() else address
    return Snapshot(folder, wanted.name, wanted.revision, folder.name, asked, files)


def _access() -> tuple[str, dict[str, Any]]:
    """The hub's address without credentials, and with which token or header it is asked: with a name and a password in
    HF_ENDPOINT by these, and the token stays here. Raises UserError for an address or a token that is none."""
    from huggingface_hub import constants, get_token

    try:
        parts = urlsplit(constants.ENDPOINT)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise UserError("HF_ENDPOINT is no address of a hub; allowed: one such as https://hub.example.org")
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    if parts.username is not None:
        pair = base64.b64encode(f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()).decode()
        return address, {"token": False, "headers": {"authorization": f"Basic {pair}"}}
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UserError("HF_TOKEN holds a character that no token has; allowed: printable ASCII without spaces")
    return address, {"token": token or False, "headers": None}


def _checked(path: Path, named: str) -> dict[str, str | int | None]:
    """What is recorded of a cached file, once it has the checksum that its blob is named by: SHA-256, or git's SHA-1.

    Raises UserError for a damaged file, after it was removed from the cache.
    """
    blob = Path(os.readlink(path)) if path.is_symlink() else path
    size, digest = path.stat().st_size, sha256(path)
    compared, actual = None, blob.name
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        compared, actual = "sha256", digest
    elif re.fullmatch("[0-9a-f]{40}", blob.name):
        content = f"blob {size}\0".encode() + path.read_bytes()
        compared, actual = "git-sha1", hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if actual != blob.name:
        with suppress(OSError):
            (path.parent / blob).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise UserError(
            f"{named} is damaged: its {compared} is {actual}, the hub's {blob.name}; it was removed from the hub's "
            f"cache: run again to fetch it"
        )
    return {"sha256": digest, "size_bytes": size, "compared": compared}


def _refusal(error: Exception, wanted: _Wanted) -> UserError:
    """The one line for what a download raised."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named, kind = wanted.named, wanted.kind
    # what kept the library from files that its cache lacks
    cause = error if isinstance(error, httpx2.HTTPError) else error.__cause__ or error
    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code
        if isinstance(cause, GatedRepoError):
            page = constants.HUGGINGFACE_CO_URL_HOME + ("datasets/" if kind == "dataset" else "") + wanted.name
            return UserError(
                f"{named} is gated ({status}): accept its terms on {page} and set HF_TOKEN to a token of that account"
            )
        if isinstance(cause, RevisionNotFoundError):
            return UserError(f"{named}: the hub has no revision {wanted.revision!r} of it ({status})")
        if isinstance(cause, RepositoryNotFoundError) or status == 401:
            return UserError(
                f"{named} is no folder here, and the hub knows no such public {kind} ({status}): check the name, set "
                f"HF_TOKEN if it is private, or {wanted.instead}"
            )
        return UserError(f"{named}: the hub answers {status}: {wanted.instead}")
    if isinstance(error, HFValidationError):
        return UserError(f"{named} is neither a folder nor a hub id such as 'owner/name'")
    if is_storage_failure(error):
        return UserError(f"{named}: cannot be stored in the hub's cache: {storage_reason(error)}")
    if is_offline():
        return UserError(
            f"{named} at revision {wanted.revision!r} is no folder here nor whole in the hub's cache, and "
            f"HF_HUB_OFFLINE forbids to ask: fetch it where there is a network, or {wanted.instead}"
        )
    if isinstance(cause, httpx2.TransportError):
        return UserError(
            f"{named} is no folder here, and the hub cannot be reached ({type(cause).__name__}): {wanted.instead}, or "
            f"set HF_ENDPOINT to a mirror"
        )
    return UserError(f"{named}: cannot be fetched from the hub ({first_line(error)}): {wanted.instead}")
