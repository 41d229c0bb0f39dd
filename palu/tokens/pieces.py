"""A document that is longer than a model reads at once: cut into pieces, and the pieces found together again.

    uncut    bos r0 r1 r2 r3 r4              max_length 4
    pieces   bos r0 r1 r2 | bos r3 r4        first_position 0 | 3

No reply token is lost or stands twice, and each is predicted once, in its place in the uncut row. A tokenizer
without a bos gives nothing to repeat: there a piece begins with the last token of the piece before it, as context,
so that only the reply's very first token, which nothing precedes, goes unpredicted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from palu.errors import UserError
from palu.roles import PROMPT

if TYPE_CHECKING:
    from palu.tokens.row import TokenRow


def cut(row: TokenRow, max_length: int) -> list[TokenRow]:
    """A row as rows of at most `max_length` tokens, in order; the row itself where it fits.

    Every piece has at least one reply token. Runs of sensitive tokens go on over a border (`span_offset` counts on),
    and characters are those of the whole reply.
    Raises UserError, naming the example, for a `max_length` that has no room for what each piece begins with and a
    reply token.
    """
    if len(row) <= max_length:
        return [row]
    lead = max(row.reply_start, 1)
    if max_length < lead + 1:
        raise UserError(
            f"example {row.example_id!r}: its {len(row)} tokens cannot be cut into pieces of max_length {max_length}; "
            f"allowed: at least {lead + 1}"
        )
    borders = [0, *range(max_length, len(row), max_length - lead), len(row)]
    return [_piece(row, start, stop, lead) for start, stop in pairwise(borders)]


def _piece(row: TokenRow, start: int, stop: int, lead: int) -> TokenRow:
    """The tokens start..stop of the uncut row, behind `lead` tokens of context for all but the first piece."""
    part = slice(start, stop)
    columns: dict[str, Any] = {
        name: getattr(row, name)[part] for name in ("input_ids", "role", "span_offset", "char_start", "char_end")
    }
    if start == 0:
        return replace(row, **columns)
    context = {
        "input_ids": row.input_ids[:lead] if row.reply_start else row.input_ids[start - 1 : start],
        "role": np.full(lead, PROMPT, dtype=np.int8),
        "span_offset": np.full(lead, -1, dtype=np.int16),
        "char_start": np.zeros(lead, dtype=np.int32),
        "char_end": np.zeros(lead, dtype=np.int32),
    }
    joined: dict[str, Any] = {name: np.concatenate([context[name], column]) for name, column in columns.items()}
    # the row's spans are counted with its first piece
    return replace(row, **joined, reply_start=lead, first_position=start - lead, uncovered_spans=0, truncated_spans=0)


def grouped(rows: Iterable[TokenRow]) -> list[list[TokenRow]]:
    """Rows in the order of `encode`, the pieces of a document together: one list for each example."""
    groups: list[list[TokenRow]] = []
    for row in rows:
        if row.first_position == 0:
            groups.append([])
        groups[-1].append(row)
    return groups
