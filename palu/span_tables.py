"""The spans of a spans table by the reply that they are in: the one way in for who needs no labels."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from palu.errors import UserError
from palu.spans import Span
from palu.stored import KeyIndex, StoredRows


def read_spans(path: Path, expected: Mapping[str, str] | None = None) -> Mapping[str, list[Span]]:
    """A spans table as example_id -> [(char_start, char_end), ...]; `expected` is provenance to check.

    Raises UserError where `palu.tables.iterate` does, and for a span that begins before its reply or is empty. Its
    end is not compared with the reply, which the table does not have.
    """
    return StoredSpans(path, expected)


class StoredSpans(Mapping[str, list[Span]]):
    """A spans table as example_id -> [(char_start, char_end), ...] in the table's order: twenty bytes a span."""

    def __init__(self, path: Path, expected: Mapping[str, str] | None = None) -> None:
        self._rows: StoredRows[Any] = StoredRows(path, "spans", expected)
        self._index = KeyIndex(row["example_id"] for row in self._rows.columns("example_id"))
        edges = array("i")
        for row in self._rows.columns("example_id", "char_start", "char_end"):
            start, end = row["char_start"], row["char_end"]
            if not 0 <= start < end:
                raise UserError(
                    f"{path}: example {row['example_id']!r}: span {start}..{end}; allowed: 0 <= start < end"
                )
            edges.extend((start, end))
        self._edges = np.frombuffer(edges, np.int32).reshape(-1, 2)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(row["example_id"] for row in self._rows.columns("example_id")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> list[Span]:
        found = self._index.find_all(name)
        if not len(found):
            raise KeyError(name)
        return [(start, end) for start, end in self._edges[found].tolist()]
