"""Rows that begin alike, in lines where what they share is there once: each line is a tree of tokens.

    rows  p q a b    tokens    p q a b c d
          p q a c    position  0 1 2 3 3 2
          p q d      parent    - 0 1 2 2 1

A token sees those before it in its own row and no other, so a model that goes by the mask and the positions makes of
each row what it makes of it alone (`palu.models.branching_fault` tries that). Rows in the order of their tokens share
with the row before them all that they share with any earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from palu.tokens.row import TokenRow

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SharedLine:
    """Indices of rows in the order of their tokens, and of each how many tokens it shares with the one before it.

    tokens: how many the line has. branches: whether a token has two that follow it.
    """

    rows: list[int]
    kept: list[int]
    tokens: int
    branches: bool


@dataclass(frozen=True, eq=False)
class SharedRows:
    """Lines of rows laid out: B lines of T tokens; see `palu.models.body.LaidOutRows`.

    input_ids, position_ids: (B, T) int64. attention_mask: (B, 1, T, T) bool, which tokens each token sees; None where
    no line branches. before: (B*T,) int64, the place of the token before each, which predicts it; its own for a first
    one. places: of each row, line after line, where its tokens are among the B*T.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    before: Tensor
    places: list[Places]

    def to(self, device: torch.device) -> SharedRows:
        """The same with the model's input on `device`."""
        mask = None if self.attention_mask is None else self.attention_mask.to(device)
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            attention_mask=mask,
        )


def shared_lines(rows: Sequence[TokenRow], width: int) -> list[SharedLine]:
    """Put all rows into lines of at most `width` tokens; one that is longer has a line of its own.

    width: 0 = no line branches; equal rows still are there once.
    """
    order = sorted(range(len(rows)), key=lambda i: rows[i].input_ids.tobytes())
    lines: list[SharedLine] = []
    for i in order:
        line = lines[-1] if lines else None
        kept = _shared(rows[line.rows[-1]].input_ids, rows[i].input_ids) if line else 0
        own = len(rows[i])
        if line and (joined := _joined(line, i, kept, len(rows[line.rows[-1]]), own, width)):
            lines[-1] = joined
        else:
            lines.append(SharedLine([i], [0], own, branches=False))
    return lines


def _joined(line: SharedLine, row: int, kept: int, last: int, own: int, width: int) -> SharedLine | None:
    """The line with one more row of `own` tokens, where it has room."""
    tokens, branches = line.tokens + own - kept, line.branches or kept < last
    if branches and (tokens > width or kept == 0):
        return None
    return SharedLine([*line.rows, row], [*line.kept, kept], tokens, branches)


def _shared(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> int:
    """How many tokens two rows have in common before they differ."""
    shorter = min(len(one), len(other))
    differing = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(differing[0]) if len(differing) else shorter


def lay_out(lines: Sequence[SharedLine], rows: Sequence[TokenRow], pad_id: int) -> SharedRows:
    """Lay lines out; they end in `pad_id`, which no row's token sees."""
    shape = len(lines), max(line.tokens for line in lines)
    input_ids, position_ids = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    places: list[Places] = []
    before = np.arange(shape[0] * shape[1])
    sees = np.zeros((*shape, shape[1]), dtype=bool) if any(line.branches for line in lines) else None
    for number, line in enumerate(lines):
        for i, kept, path in _paths(line, rows):
            new = path[kept:]
            input_ids[number, new], position_ids[number, new] = rows[i].input_ids[kept:], np.arange(kept, len(path))
            if sees is not None:
                sees[number][path[:, None], path] = np.tri(len(path), dtype=bool)
            places.append(number * shape[1] + path)
            before[places[-1][1:]] = places[-1][:-1]
        if sees is None:
            position_ids[number] = np.arange(shape[1])
    if sees is not None:
        # what sees nothing would be no number, and its product with a weight of 0 none either
        sees |= np.eye(shape[1], dtype=bool)
    mask = None if sees is None else torch.from_numpy(sees[:, None])
    return SharedRows(
        torch.from_numpy(input_ids), torch.from_numpy(position_ids), mask, torch.from_numpy(before), places
    )


def _paths(line: SharedLine, rows: Sequence[TokenRow]) -> Iterator[tuple[int, int, Places]]:
    """Each row of a line, how many tokens it shares with the one before it, and its tokens' places in the line."""
    path, used = np.empty(0, dtype=np.int64), 0
    for i, kept in zip(line.rows, line.kept, strict=True):
        fresh = len(rows[i]) - kept
        path = np.concatenate([path[:kept], np.arange(used, used + fresh)])
        used += fresh
        yield i, kept, path
