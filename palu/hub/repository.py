"""What is wanted of a repository of the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import filter_repo_objects


@dataclass(frozen=True)
class Repository:
    """What is wanted of a repository. kind: model or dataset. revision: a commit, tag or branch.

    named: what to call it in errors. instead: what a user may do without the hub. allow, ignore: patterns of
    the files that are wanted; `*` stands for slashes too.
    """

    name: str
    kind: str
    revision: str
    named: str
    instead: str
    allow: tuple[str, ...]
    ignore: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """Its folder in the hub's cache."""
        root = Path(constants.HF_HUB_CACHE).expanduser()
        return root / repo_folder_name(repo_id=self.name, repo_type=self.kind)

    def wanted(self, paths: Iterable[str]) -> list[str]:
        """Those of `paths` that the patterns ask for."""
        return list(filter_repo_objects(paths, allow_patterns=[*self.allow], ignore_patterns=[*self.ignore]))
