"""The spans of a spans table by the reply that they are in: the one way in for who needs no labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from palu import tables
from palu.errors import UserError
from palu.spans import Span


def read_spans(path: Path, expected: Mapping[str, str] | None = None) -> dict[str, list[Span]]:
    """A spans table as example_id -> [(char_start, char_end), ...]; `expected` is provenance to check.

    Raises UserError where `palu.tables.iterate` does, and for a span that begins before its reply or is empty. Its
    end is not compared with the reply, which the table does not have.
    """
    spans: dict[str, list[Span]] = {}
    for batch in tables.iterate(path, "spans", expected):
        columns = (batch.column(name).to_pylist() for name in ("example_id", "char_start", "char_end"))
        for example_id, start, end in zip(*columns, strict=True):
            if not 0 <= start < end:
                raise UserError(f"{path}: example {example_id!r}: span {start}..{end}; allowed: 0 <= start < end")
            spans.setdefault(example_id, []).append((start, end))
    return spans
