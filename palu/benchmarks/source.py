"""Where a benchmark's tables come from: a dataset on the hub, or a local folder in the same layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import AfterValidator, BeforeValidator

from palu import plain
from palu.errors import UserError
from palu.files import file_digest
from palu.hub import dataset_folder
from palu.jsonl import shown
from palu.settings import Count

Record = dict[str, Any]

# Plain tables. An archive would be unpacked.
TABLE_FILES = (".json", ".jsonl", ".csv", ".parquet", ".txt")
# Where a folder may say itself which files its tables are
LISTS = ("README.md", ".huggingface.yaml")


def _pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("is not a pair of rows; allowed: [start, stop]")
    return tuple(value)


def _ascending(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] >= value[1]:
        raise ValueError("holds no row; allowed: [start, stop] with start < stop (stop itself is left out)")
    return value


# A setting that chooses rows of a table: [start, stop), counted from 0
Rows = Annotated[tuple[Count, Count], BeforeValidator(_pair), AfterValidator(_ascending)]


class Source:
    """The tables of one commit of the hub's dataset, or of a local folder, read through `datasets`.

    Tables are read from files into memory by way of `scratch`, a cache of this call alone: the cache of `datasets`
    knows a local file by its path and time, and would serve an edited one stale.
    """

    def __init__(self, source: str, revision: str | None, place: str, layout: str, scratch: Path) -> None:
        """source: hub id or local folder. place, layout: what errors name, such as `benchmark tofu` and `TOFU`.

        Raises UserError where the source is neither a folder nor a dataset that can be had.
        """
        self.name = repr(source)
        self.is_local = Path(source).is_dir()
        self._scratch = scratch
        self._folder = Path(source).resolve() if self.is_local else dataset_folder(source, revision, place, layout)
        self._files: set[Path] = set()
        _check_lists(self._folder, self.name)

    def revision(self) -> str:
        """The hub's commit, or for a local folder a digest of the files that were read."""
        return file_digest(*self._files) if self.is_local else self._folder.name

    def read(self, config: str, keys: Sequence[str], split: str = "train") -> list[Record]:
        """The rows of one split of a config, each with a text under every one of `keys`.

        Raises UserError in one line where it cannot be read, has no row, or a row lacks a text.
        """
        import datasets

        table = config if split == "train" else f"{config}/{split}"
        datasets.disable_progress_bars()
        try:
            builder = datasets.load_dataset_builder(str(self._folder), config, cache_dir=str(self._scratch))
            self._files |= self._inside(path for paths in builder.config.data_files.values() for path in paths)
            # the rest of `load_dataset`, which would look for the files once more
            builder.download_and_prepare()
            records: list[Record] = builder.as_dataset(split=split).to_list()
        except StopIteration:  # how `datasets` tells of a file without a row
            records = []
        except UserError:
            raise
        except Exception as error:
            # the folder may be anybody's, and the library has no one kind of error for what it does not expect
            reason = " ".join(str(error).split()).split(" with any supported extension")[0]
            raise UserError(f"{self.name}: table {table!r} cannot be read: {reason}") from None
        return self.checked(records, table, keys)

    def _inside(self, paths: Iterable[str]) -> set[Path]:
        """The files of a table, once they are plain files of the folder that ask for little; else UserError."""
        from palu.parquet import check_foreign

        found = {Path(path) for path in paths}
        for path in sorted(found):
            if not path.is_relative_to(self._folder.resolve()) or path.suffix not in TABLE_FILES:
                kinds = ", ".join(TABLE_FILES)
                raise UserError(f"{self.name}: {path}: is no table of the folder; allowed: files in it named {kinds}")
            if path.suffix == ".parquet":
                check_foreign(path)
        return found

    def checked(self, records: list[Record], table: str, keys: Sequence[str]) -> list[Record]:
        """`records`, once there are some and each has a text under every one of `keys`; else UserError."""
        if not records:
            raise UserError(f"{self.name}: table {table!r} has no row")
        for index, record in enumerate(records):
            for key in keys:
                if not isinstance(record.get(key), str):
                    raise UserError(f"{self.name}: row {index} of table {table!r} has no text under the key {key!r}")
        return records


def _check_lists(folder: Path, name: str) -> None:
    """Raise UserError where a folder's own list of its tables names what is not in it: an address, or a path that
    leaves it. `datasets` would ask for the address before anybody saw it."""
    from huggingface_hub import DatasetCard

    for path in (folder / listed for listed in LISTS):
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
            facts: Any = cast(Any, DatasetCard(text).data).to_dict() if path.suffix == ".md" else yaml.safe_load(text)
        except (ValueError, TypeError, OSError, RecursionError, yaml.YAMLError) as error:
            raise UserError(f"{name}: {path.name}: its YAML cannot be read: {' '.join(str(error).split())}") from None
        configs = facts.get("configs") if isinstance(facts, dict) else None
        place = f"{name}: {path.name}: configs"
        plain.check(configs, place)
        for value in _listed(configs):
            if "://" in value or "::" in value or Path(value).is_absolute() or ".." in Path(value).parts:
                raise UserError(f"{place}: {shown(value)}; allowed: files of the folder, by a relative path")


def _listed(value: Any) -> Iterator[str]:
    """Every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _listed(part)
