"""The values of one metric by example, in a dozen bytes each: a large benchmark has dozens of metrics of every row."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import cached_property
from weakref import WeakValueDictionary

import pyarrow as pa

from palu.evaluation.base import Missing, Value
from palu.stored import STRETCH_ROWS, KeyIndex


class _Names:
    """Example ids in order, held once for all columns over the same examples."""

    def __init__(self, text: bytearray, ends: array[int]) -> None:
        buffers = pa.py_buffer(ends.tobytes()), pa.py_buffer(bytes(text))
        self.array = pa.LargeStringArray.from_buffers(len(ends) - 1, *buffers)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.array), STRETCH_ROWS):
            yield from self.array.slice(start, STRETCH_ROWS).to_pylist()

    @cached_property
    def index(self) -> KeyIndex:
        return KeyIndex(self)


_SHARED: WeakValueDictionary[bytes, _Names] = WeakValueDictionary()


class ScoreColumn(Mapping[str, Value]):
    """example_id -> value, in the order in which the pairs came. Columns over the same examples share their ids.

    `add` takes a pair whose id is new, until the column is first read; later it raises ValueError.
    """

    def __init__(self, pairs: Iterable[tuple[str, Value]] = ()) -> None:
        self._text, self._ends = bytearray(), array("q", [0])
        self._numbers, self._codes = array("d"), array("i")
        # -1 stands for a number, others for a reason why there is none; most rows share a reason
        self._reasons: dict[Missing, int] = {}
        for example_id, value in pairs:
            self.add(example_id, value)

    def add(self, example_id: str, value: Value) -> None:
        if "_names" in self.__dict__:
            raise ValueError(f"{example_id}: the column has been read; allowed: to add before")
        self._text += example_id.encode()
        self._ends.append(len(self._text))
        if isinstance(value, Missing):
            self._numbers.append(0.0)
            self._codes.append(self._reasons.setdefault(value, len(self._reasons)))
        else:
            self._numbers.append(value)
            self._codes.append(-1)

    @cached_property
    def _names(self) -> _Names:
        digest = hashlib.blake2b(self._text + self._ends.tobytes(), digest_size=16).digest()
        found = _SHARED.get(digest)
        if found is None:
            found = _SHARED[digest] = _Names(self._text, self._ends)
        self._text, self._ends = bytearray(), array("q")
        return found

    @cached_property
    def _told(self) -> list[Missing]:
        return list(self._reasons)

    def _value(self, place: int) -> Value:
        code = self._codes[place]
        return self._numbers[place] if code < 0 else self._told[code]

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, example_id: object) -> bool:
        return isinstance(example_id, str) and self._names.index.find(example_id) is not None

    def __getitem__(self, example_id: str) -> Value:
        place = self._names.index.find(example_id)
        if place is None:
            raise KeyError(example_id)
        return self._value(place)

    def items(self) -> ItemsView[str, Value]:
        return _Items(self)

    def values(self) -> ValuesView[Value]:
        return _Values(self)

    def each(self) -> Iterator[Value]:
        """The values in order, without their ids."""
        return map(self._value, range(len(self)))


class _Items(ItemsView[str, Value]):
    """Pairs in one pass, where a mapping's own view would look up every id."""

    def __init__(self, column: ScoreColumn) -> None:
        super().__init__(column)
        self._column = column

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return zip(self._column, self._column.each(), strict=True)


class _Values(ValuesView[Value]):
    """Values in one pass."""

    def __init__(self, column: ScoreColumn) -> None:
        super().__init__(column)
        self._column = column

    def __iter__(self) -> Iterator[Value]:
        return self._column.each()
