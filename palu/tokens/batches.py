"""From rows of tokens to batches: padded, one row a line, or packed, several rows behind one another in a line.

Packed rows do not see each other: their position ids start again at 0, which tells the model's attention where one
ends (`palu.models.hidden_states` asks for that). Lines are as long as the longest row, not one for all: attention
costs the square of a line's length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from palu.tokens.row import TokenRow


@dataclass(frozen=True, eq=False)
class Replies:
    """The P positions that predict a reply or end token of R rows, row after row.

    position: (P,) int64, t within its own row, bos = 0; position t predicts token t + 1. In a piece of a document t
    counts from the start of the uncut document (`TokenRow.first_position`).
    target_ids: (P,) int64; role: (P,) int8 and span_offset: (P,) int16, of the predicted token.
    row: (P,) int64, 0..R-1 in order. row_count: R. example_ids: R names.
    """

    position: Tensor
    target_ids: Tensor
    role: Tensor
    span_offset: Tensor
    row: Tensor
    row_count: int
    example_ids: list[str]

    def part(self, rows: slice) -> Replies:
        """Those of the consecutive rows first <= row < last, of slice(first, last)."""
        first, last, _ = rows.indices(self.row_count)
        chosen = slice(*np.searchsorted(self.row.cpu().numpy(), [first, last]).tolist())
        return Replies(
            position=self.position[chosen],
            target_ids=self.target_ids[chosen],
            role=self.role[chosen],
            span_offset=self.span_offset[chosen],
            row=self.row[chosen] - first,
            row_count=last - first,
            example_ids=self.example_ids[rows],
        )

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors on `device`."""
        moved: dict[str, Any] = {
            key: value.to(device) if isinstance(value, Tensor) else value for key, value in vars(self).items()
        }
        return type(self)(**moved)


@dataclass(frozen=True, eq=False)
class Batch(Replies):
    """R rows laid out in B lines of T tokens, and their predicting positions.

    input_ids, position_ids: (B, T) int64; position ids start at 0 with each row. predict_index: (P,) int64 into the
    B*T flattened tokens. attention_mask: None, which lets the model see what position_ids tell; only a batch with
    every position as a predicting one has it, (B, T) int64, 0 at padding.
    """

    input_ids: Tensor
    position_ids: Tensor
    predict_index: Tensor
    attention_mask: Tensor | None = None


class Bins:
    """Lines of `width` tokens, filled first-fit; without `packed` a line takes one row."""

    def __init__(self, width: int, packed: bool) -> None:
        self.width, self.packed = width, packed
        self._room: list[int] = []

    @property
    def tokens(self) -> int:
        """B * T, padding included."""
        return len(self._room) * self.width

    def place(self, length: int) -> tuple[int, int]:
        """Put a row of `length` <= width tokens down; its line and the place of its first token there."""
        line = next((i for i, room in enumerate(self._room) if self.packed and room >= length), len(self._room))
        if line == len(self._room):
            self._room.append(self.width)
        start = self.width - self._room[line]
        self._room[line] -= length
        return line, start


def collate(rows: Sequence[TokenRow], pad_id: int, packed: bool = False) -> Batch:
    """Lay `rows` out in lines that end in `pad_id` and flatten their predicting positions, row after row.

    packed: lines hold several rows, the longest ones first; otherwise line i is row i. Raises ValueError for no row
    at all.
    """
    lengths = [len(row) for row in rows]
    bins = Bins(max(lengths), packed)
    places = [(0, 0)] * len(rows)
    for i in sorted(range(len(rows)), key=lambda i: -lengths[i]) if packed else range(len(rows)):
        places[i] = bins.place(lengths[i])
    shape = (bins.tokens // bins.width, bins.width)
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    position_ids = np.tile(np.arange(bins.width), (shape[0], 1))
    for row, (line, start) in zip(rows, places, strict=True):
        input_ids[line, start : start + len(row)] = row.input_ids
        position_ids[line, start : start + len(row)] = np.arange(len(row))
    predicting = [np.arange(row.first_target, len(row)) - 1 for row in rows]
    positions = [row.first_position + t for row, t in zip(rows, predicting, strict=True)]
    place = np.concatenate(
        [line * bins.width + start + t for t, (line, start) in zip(predicting, places, strict=True)]
    )
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        predict_index=torch.from_numpy(place),
        position=torch.from_numpy(np.concatenate(positions)),
        target_ids=torch.from_numpy(input_ids.reshape(-1)[place + 1]),
        role=torch.from_numpy(np.concatenate([row.role[row.first_target :] for row in rows])),
        span_offset=torch.from_numpy(np.concatenate([row.span_offset[row.first_target :] for row in rows])),
        row=torch.from_numpy(np.repeat(np.arange(len(rows)), [len(t) for t in predicting])),
        row_count=len(rows),
        example_ids=[row.example_id for row in rows],
    )


def length_buckets(lengths: Iterable[Sequence[int]], tokens_per_batch: int, packed: bool = False) -> list[list[int]]:
    """Indices of the given units in batches of like length, longest first, so that memory runs out at once or never.

    lengths: the rows' tokens of each unit; a unit's rows stay together. A batch laid out by `collate` has at most
    `tokens_per_batch` tokens, padding included; a unit that is larger stands alone.
    """
    units = list(lengths)
    waiting = sorted(range(len(units)), key=lambda i: -max(units[i]))
    buckets: list[list[int]] = []
    while waiting:
        count = _count_that_fit([units[i] for i in waiting], tokens_per_batch, packed)
        buckets.append(waiting[:count])
        waiting = waiting[count:]
    return buckets


def _count_that_fit(units: Sequence[Sequence[int]], limit: int, packed: bool) -> int:
    """How many of these units, in this order, one batch of at most `limit` tokens takes, and 1 at least."""
    bins, count = Bins(max(units[0]), packed), 0
    for unit in units:
        for length in sorted(unit, reverse=True):
            bins.place(length)
        if bins.tokens > limit:
            break
        count += 1
    # `collate` orders the rows of all units by length, which now and then takes a line more than unit after unit
    while count > 1 and _laid_out([length for unit in units[:count] for length in unit], packed).tokens > limit:
        count -= 1
    return max(count, 1)


def _laid_out(lengths: Sequence[int], packed: bool) -> Bins:
    bins = Bins(max(lengths), packed)
    for length in sorted(lengths, reverse=True):
        bins.place(length)
    return bins
