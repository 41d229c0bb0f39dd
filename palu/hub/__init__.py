"""The only place that talks to the hub: dataset and model repositories become folders of the hub's own cache.

A branch is resolved to a commit once, every file is compared with the hub's checksum, and nothing is read from the
cache that was not. `docs/hub.md` tells it to users. Importing it loads no library: studies are read at every start of
Snakemake.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from palu.errors import UserError

if TYPE_CHECKING:
    from palu.hub.snapshots import Snapshot

# What data sets and models are made of; archives, pickles and programs are never fetched
DATASET_FILES = ("*.json", "*.jsonl", "*.csv", "*.parquet", "*.txt", "README.md")
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
# "consolidated" files repeat the weights in another program's layout
OTHER_MODEL_FILES = ("*/*", "consolidated*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def dataset_folder(source: str, revision: str | None, place: str, layout: str) -> Path:
    """The hub's dataset as a folder of the hub's own cache, named after its commit. HF_HUB_OFFLINE is honoured.

    place: what to name in errors, such as `benchmark tofu`. layout: whose layout a local folder would have instead.
    Raises UserError where the source is neither a folder nor a dataset that can be had, and for a wrong checksum.
    """
    from palu.hub.repository import Repository
    from palu.hub.snapshots import snapshot

    named = f"{place}: source {source!r}"
    if not _HUB_ID.fullmatch(source):
        raise UserError(f"{named} is neither a folder nor a hub id such as 'owner/name'")
    instead = f"give a local folder in {layout}'s layout as `source`"
    return snapshot(Repository(source, "dataset", revision or "main", named, instead, DATASET_FILES)).folder


def model_snapshot(name: str, revision: str | None) -> Snapshot:
    """The hub's model `name` (configuration, tokenizer, safetensors) in the hub's own cache, and what it was made of.

    Raises UserError where it is neither a folder nor a model that can be had, and for a wrong checksum.
    """
    from palu.hub.repository import Repository
    from palu.hub.snapshots import snapshot

    if Path(name).is_absolute() or Path(name).exists() or not _HUB_ID.fullmatch(name):
        raise UserError(f"{name}: no such model folder; allowed: a local folder or a hub id such as owner/name")
    wanted = (MODEL_FILES, OTHER_MODEL_FILES)
    return snapshot(Repository(name, "model", revision or "main", name, "give a local folder", *wanted))


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def is_cached(name: str, revision: str | None, kind: str) -> bool:
    """Whether the hub's cache holds files of a repository; the hub is not asked. kind: model or dataset."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return True
