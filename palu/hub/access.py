"""How the hub can be reached from here, for those who ask before a download does."""

from __future__ import annotations

from pathlib import Path


def endpoint() -> str:
    """The hub's address, without credentials. Raises UserError where HF_ENDPOINT is no address."""
    from palu.hub import asking

    return asking.endpoint().address


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def cache() -> Path:
    """The folder of the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def has_token() -> bool:
    """Whether the user has given the hub's client a token."""
    from huggingface_hub import get_token

    return get_token() is not None


def is_cached(name: str, revision: str | None, is_dataset: bool = False) -> bool:
    """Whether the cache holds files of this repository; nothing is asked of the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(
            name, repo_type="dataset" if is_dataset else "model", revision=revision, local_files_only=True
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return True


def unreachable(seconds: float) -> str | None:
    """Why the hub gives no answer within so many seconds, in a few words; None where it answers."""
    import threading

    import httpx2

    found: list[str | None] = []

    def ask() -> None:
        try:
            httpx2.head(endpoint(), timeout=seconds)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            found.append(type(error).__name__)
        else:
            found.append(None)

    # looking up a name has no time limit of its own
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"nothing within {seconds:g} s"
