"""Where a benchmark's tables come from: a dataset on the hub, or a local folder in the same layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from palu.errors import UserError
from palu.files import file_digest
from palu.hub import dataset_folder
from palu.settings import Count

Record = dict[str, Any]


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
            self._files |= {Path(path) for paths in builder.config.data_files.values() for path in paths}
            found = datasets.load_dataset(str(self._folder), config, cache_dir=str(self._scratch), split=split)
            records: list[Record] = found.to_list()
        except StopIteration:  # how `datasets` tells of a file without a row
            records = []
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error).split()).split(" with any supported extension")[0]
            raise UserError(f"{self.name}: table {table!r} cannot be read: {reason}") from None
        return self.checked(records, table, keys)

    def checked(self, records: list[Record], table: str, keys: Sequence[str]) -> list[Record]:
        """`records`, once there are some and each has a text under every one of `keys`; else UserError."""
        if not records:
            raise UserError(f"{self.name}: table {table!r} has no row")
        for index, record in enumerate(records):
            for key in keys:
                if not isinstance(record.get(key), str):
                    raise UserError(f"{self.name}: row {index} of table {table!r} has no text under the key {key!r}")
        return records
