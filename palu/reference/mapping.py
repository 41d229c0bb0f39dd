"""A wide column read from its file as it is asked for: mapped into memory, so that processes share one copy of it."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from palu import tables
from palu.errors import UserError
from palu.parquet import row_places

Index = npt.NDArray[np.int64]


class MappedColumn:
    """A column of fixed-size lists of a table whose numbers are plain in the file (`palu.tables.WIDE_LAYOUT`).

    Nothing is believed that was not compared: `check` takes what Arrow read, checksums included.
    Raises UserError for a column that is laid out in another way.
    """

    def __init__(self, path: Path, table: str, name: str) -> None:
        self._path, self._name = path, name
        parquet = tables.opened(path, table, {})
        kind, self._places = row_places(path, parquet, name)
        self.width: int = kind.list_size
        self._dtype = np.dtype(kind.value_type.to_pandas_dtype())
        with path.open("rb") as file:
            self._bytes = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def rows(self, numbers: Index, width: int | None = None) -> npt.NDArray[Any]:
        """(P, width): the first numbers of these rows of the file (default: all)."""
        width = self.width if width is None else width
        size = width * self._dtype.itemsize
        found = bytearray().join(self._bytes[place : place + size] for place in self._places[numbers].tolist())
        return np.frombuffer(found, self._dtype).reshape(len(numbers), width)

    def check(self, start: int, values: npt.NDArray[Any]) -> None:
        """Raise UserError unless the rows from `start` on hold `values`, all their numbers one after another."""
        mapped = self.rows(np.arange(start, start + len(values) // self.width))
        if mapped.tobytes() != values.tobytes():
            raise UserError(f"{self._path}: a damaged Parquet file: its footer misplaces column {self._name!r}")
