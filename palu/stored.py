"""Tables that are looked up without being held: a few stretches of rows are in memory at a time.

What stays of each row is a digest of its key, some twelve bytes. Rows that are asked for in about the order of the
file are read once; rows in any order are right too, and slow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from palu import tables
from palu.parquet import damage_told

T = TypeVar("T")

# Rows that are decoded together, how many such stretches stay decoded, and how many row groups stay as Arrow has them
STRETCH_ROWS = 1024
HELD_STRETCHES = 8
HELD_GROUPS = 2
# Rows of a group that is written from dicts
WRITTEN_ROWS = 2**16


def _as_dicts(batch: pa.Table) -> list[Any]:
    return list(batch.to_pylist())


class LookedUp(Sequence[T], ABC, Generic[T]):
    """A sequence whose values are made as they are asked for: `_at` makes that of a number from 0 on."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self._at(number) for number in range(*place.indices(len(self)))]
        number = place + len(self) if place < 0 else place
        if not 0 <= number < len(self):
            raise IndexError(place)
        return self._at(number)

    @abstractmethod
    def _at(self, number: int) -> T: ...


class StoredRows(LookedUp[T]):
    """The rows of a table by number, decoded as they are asked for.

    decode: a stretch of the table -> one value for each of its rows; none = dicts. expected: as for `tables.read`.
    Raises UserError where `tables.read` does; for damaged rows, when they are asked for.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        expected: Mapping[str, str] | None = None,
        decode: Callable[[pa.Table], list[T]] = _as_dicts,
    ) -> None:
        self.path = path
        self._decode = decode
        self._parquet = tables.opened(path, name, expected or {})
        counts = [self._parquet.metadata.row_group(i).num_rows for i in range(self._parquet.num_row_groups)]
        self._starts = np.cumsum([0, *counts])
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        self._stretches: OrderedDict[tuple[int, int], list[T]] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _at(self, number: int) -> T:
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        stretch, offset = divmod(number - int(self._starts[group]), STRETCH_ROWS)
        return self._stretch(group, stretch)[offset]

    def _stretch(self, group: int, stretch: int) -> list[T]:
        def decoded() -> list[T]:
            whole = _held(self._groups, group, lambda: self._read(group), HELD_GROUPS)
            return self._decode(whole.slice(stretch * STRETCH_ROWS, STRETCH_ROWS))

        found: list[T] = _held(self._stretches, (group, stretch), decoded, HELD_STRETCHES)
        return found

    def _read(self, group: int) -> pa.Table:
        with damage_told(self.path):
            table = self._parquet.read_row_group(group)
            table.validate(full=True)
            return table

    def columns(self, *names: str) -> Iterator[dict[str, Any]]:
        """These columns of every row, in order, as dicts."""
        with damage_told(self.path):
            for batch in self._parquet.iter_batches(batch_size=STRETCH_ROWS, columns=list(names)):
                batch.validate(full=True)
                yield from batch.to_pylist()


def _held(cache: OrderedDict[Any, Any], key: Any, make: Callable[[], Any], most: int) -> Any:
    """The value of `key`, made where it is not held; the one that was asked for longest ago goes."""
    if key not in cache:
        while len(cache) >= most:
            cache.popitem(last=False)
        cache[key] = make()
    else:
        cache.move_to_end(key)
    return cache[key]


class ChosenRows(LookedUp[T]):
    """Some rows of a sequence, by their numbers in it."""

    def __init__(self, rows: Sequence[T], numbers: Iterable[int]) -> None:
        self._rows = rows
        self._numbers = array("i", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def _at(self, number: int) -> T:
        return self._rows[self._numbers[number]]


def training_rows(path: Path, parts: Collection[str]) -> Sequence[dict[str, Any]]:
    """The rows of an examples table that models are trained on, of some parts."""
    rows: StoredRows[dict[str, Any]] = StoredRows(path, "examples")
    keys = enumerate(rows.columns("part", "reply_kind", "prompt_kind"))
    return ChosenRows(rows, (number for number, key in keys if key["part"] in parts and tables.is_training_row(key)))


class KeyIndex:
    """Where each of n names stands in their order; only digests of 64 bits are held.

    Of 100,000 names two share a digest once in four billion times.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._digests = array("q", (hash(name) for name in names))
        digests = np.frombuffer(self._digests, np.int64)
        self._order = np.argsort(digests, kind="stable").astype(np.int32)
        self._sorted = digests[self._order]
        self._next = 0

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, name: str) -> int | None:
        """The place of a name that stands once, or one of its places; None where it is not there."""
        digest = hash(name)
        # names are mostly asked for one after the other
        if self._next < len(self._digests) and self._digests[self._next] == digest:
            place = self._next
        else:
            found = self.find_all(name)
            if not len(found):
                return None
            place = int(found[0])
        self._next = place + 1
        return place

    def find_all(self, name: str) -> npt.NDArray[np.int32]:
        """Every place of a name, in order."""
        digest = hash(name)
        start, stop = (int(np.searchsorted(self._sorted, digest, side=side)) for side in ("left", "right"))
        return self._order[start:stop]


class StoredByKey(Mapping[str, T]):
    """The rows of a table by the example that they are of, one row each."""

    def __init__(self, rows: StoredRows[T]) -> None:
        self._rows = rows
        self._index = KeyIndex(self)

    def __iter__(self) -> Iterator[str]:
        return (row["example_id"] for row in self._rows.columns("example_id"))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._index.find(name) is not None

    def __getitem__(self, name: str) -> T:
        place = self._index.find(name)
        if place is None:
            raise KeyError(name)
        return self._rows[place]


def write_stream(path: Path, name: str, batches: Iterable[pa.Table], provenance: Mapping[str, str]) -> None:
    """Write a table atomically from the tables that it consists of, each a row group; without any it is empty."""
    with tables.writer(path, name, provenance) as parquet:
        empty = True
        for batch in batches:
            parquet.write_table(batch.cast(parquet.schema))
            empty = False
        if empty:
            parquet.write_table(parquet.schema.empty_table())


def rows_tables(rows: Iterable[Mapping[str, Any]], name: str) -> Iterator[pa.Table]:
    """Rows as tables of at most `WRITTEN_ROWS`, for `write_stream`."""
    held: list[Mapping[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == WRITTEN_ROWS:
            yield pa.Table.from_pylist(held, schema=tables.FIXED_SCHEMAS[name])
            held = []
    if held:
        yield pa.Table.from_pylist(held, schema=tables.FIXED_SCHEMAS[name])
