"""What a user is told of the hub: one line each, in words of our own, since a library's may hold credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from palu.errors import UserError
from palu.hub.asking import PASSING_STATUS, tell, why

if TYPE_CHECKING:
    from collections.abc import Sequence

    from palu.hub.repository import Repository


def of(error: Exception, repository: Repository, has_token: bool) -> UserError:
    """The error for what a request of a repository's files raised. has_token: whether one was sent."""
    named, kind = repository.named, repository.kind
    if isinstance(error, HfHubHTTPError):
        return _of_answer(error, repository, has_token)
    if isinstance(error, httpx2.TooManyRedirects):
        return UserError(f"{named}: the hub redirects in a circle: check HF_ENDPOINT")
    if isinstance(error, httpx2.ProxyError):
        return UserError(f"{named}: the proxy gives no connection to the hub: check HTTPS_PROXY and NO_PROXY")
    if isinstance(error, httpx2.TransportError):
        return UserError(
            f"{named} is no folder here, and the hub cannot be reached ({why(error)}): {repository.instead}, or set "
            f"HF_ENDPOINT to a mirror"
        )
    return UserError(f"{named}: the hub gives no readable answer about this {kind}: check HF_ENDPOINT")


def _of_answer(error: HfHubHTTPError, repository: Repository, has_token: bool) -> UserError:
    named, kind, status = repository.named, repository.kind, error.response.status_code
    if isinstance(error, GatedRepoError):
        page = constants.HUGGINGFACE_CO_URL_HOME + ("datasets/" if kind == "dataset" else "") + repository.name
        account = "with the account of HF_TOKEN" if has_token else "and set HF_TOKEN to a token of that account"
        return UserError(f"{named} is gated ({status}): accept its terms on {page} {account}")
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"{named}: the hub has no revision {repository.revision!r} of it ({status})")
    if isinstance(error, EntryNotFoundError):
        return UserError(f"{named}: the hub lists a file that it does not give ({status}): try another revision")
    if status == 401 and has_token:
        return UserError(f"{named}: the hub does not know you (401): check HF_TOKEN")
    if isinstance(error, RepositoryNotFoundError) or status in {401, 404}:
        return UserError(
            f"{named} is no folder here, and the hub knows no such public {kind} ({status}): check the name, set "
            f"HF_TOKEN if it is private, or {repository.instead}"
        )
    if status == 403:
        return UserError(f"{named}: the hub forbids it (403): HF_TOKEN needs the right to read this {kind}")
    tried = ", also after several tries" if status in PASSING_STATUS else ""
    return UserError(f"{named}: {why(error)}{tried}: {repository.instead}")


def is_unreachable(error: Exception) -> bool:
    """Whether a failed request says nothing of the repository: no connection, or a hub that is out of order."""
    return not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500


def unreadable(repository: Repository, reason: str) -> UserError:
    """The error for an answer that has not the hub's form."""
    return UserError(f"{repository.named}: the hub's answer cannot be read: {reason}: check HF_ENDPOINT")


def parsed(answer: httpx2.Response, repository: Repository) -> Any:
    """An answer's JSON. Raises UserError where it is none."""
    try:
        return answer.json()
    except ValueError:
        raise unreadable(repository, "it is not JSON") from None


def not_cached(repository: Repository) -> UserError:
    """The error for a repository that is not in the cache while no request is allowed."""
    return UserError(
        f"{repository.named} at revision {repository.revision!r} is no folder here nor whole in the hub's cache, and "
        f"HF_HUB_OFFLINE forbids to ask: fetch it where there is a network, or {repository.instead}"
    )


def check_weights(repository: Repository, paths: Sequence[str]) -> None:
    """Raise UserError for a model without safetensors, before anything of it is downloaded."""
    if repository.kind != "model" or any(path.endswith(".safetensors") for path in repository.wanted(paths)):
        return
    pickled = next((path for path in sorted(paths) if path.endswith((".bin", ".pt", ".pth"))), None)
    held = f"; {pickled} is a pickle, which is never read" if pickled else ""
    raise UserError(f"{repository.named}: a model without weights: no *.safetensors on the hub{held}")


def tell_start(repository: Repository, count: int, size_bytes: int) -> None:
    """Tell, before it begins, how much is downloaded."""
    if count:
        tell(f"{repository.named}: {count} files, {size_bytes / 1e6:.1f} MB")


def tell_last_known(repository: Repository, commit: str) -> None:
    """Tell that a commit is the last that was seen of a revision, not the one that it stands for now."""
    seen = f"commit {commit}, from the cache, is what was last seen of {repository.revision}"
    tell(f"{repository.named}: the hub cannot be reached: {seen}")
