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
