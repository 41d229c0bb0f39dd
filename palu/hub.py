"""The only place that talks to the hub: dataset and model repositories become folders of the hub's own cache."""

from pathlib import Path

from palu.errors import UserError


def dataset_folder(source: str, revision: str | None, place: str, layout: str) -> Path:
    """The hub's dataset as a folder of the hub's own cache, named after its commit. HF_HUB_OFFLINE is honoured.

    place: what to name in errors, such as `benchmark tofu`. layout: whose layout a local folder would have instead.
    Raises UserError where the source is neither a folder nor a dataset that can be had.
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    named = repr(source)
    version = f" at revision {revision!r}" if revision else ""
    local = f"give a local folder in {layout}'s layout as `source`"
    try:
        return Path(snapshot_download(source, repo_type="dataset", revision=revision))
    except HFValidationError:
        raise UserError(f"{place}: source {named} is neither a folder nor a hub id such as 'owner/name'") from None
    except (LocalEntryNotFoundError, httpx.TransportError):
        raise UserError(
            f"{place}: source {named} is no folder here, and the hub cannot be reached: {local}, or set "
            f"HF_ENDPOINT to a mirror"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise UserError(
            f"{place}: source {named}{version} is no folder here, and the hub does not give it ({status}): "
            f"check the name and the revision, or {local}"
        ) from None


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or the usual one."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


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

    import httpx

    found: list[str | None] = []

    def ask() -> None:
        try:
            httpx.head(endpoint(), timeout=seconds)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            found.append(type(error).__name__)
        else:
            found.append(None)

    # looking up a name has no time limit of its own
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"nothing within {seconds:g} s"
