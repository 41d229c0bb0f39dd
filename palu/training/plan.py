"""The whole data order as a pure function of the seed: which rows make up optimiser step s, and how they are cut.

Nothing here has a state, so a resumed run, another batch size or another number of processes reads the same rows.
Draws come from raw Philox words, not from numpy's `Generator`, whose algorithms may change between releases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from palu.tokens import TokenRow, length_buckets

# Distinct streams of one seed.
_ORDER, _PARTNER = 0, 1


def _words(seed: int, stream: int, *place: int, count: int) -> npt.NDArray[np.uint64]:
    """`count` random 64-bit words that belong to (seed, stream, place)."""
    words = np.random.Philox(np.random.SeedSequence((seed, stream, *place))).random_raw(count)
    return np.asarray(words, dtype=np.uint64)


def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order of rows 0..count-1 in `epoch`: a permutation, (count,) int64."""
    return np.argsort(_words(seed, _ORDER, epoch, count=count), kind="stable")


def retain_partner(seed: int, epoch: int, item: int, retain_count: int) -> int:
    """The retain row that is trained beside forget row `item` in `epoch`, drawn uniformly with replacement."""
    # the modulus favours small indices by less than retain_count / 2^64
    return int(_words(seed, _PARTNER, epoch, item, count=1)[0] % np.uint64(retain_count))


@dataclass(frozen=True)
class Plan:
    """The optimiser steps of a run over `item_count` rows (forget rows, or all rows of a finetuning).

    partner_count: rows from which each item draws its partner; 0 where there are no partners.
    """

    seed: int
    item_count: int
    partner_count: int
    batch_size: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.item_count // self.batch_size)

    @property
    def step_count(self) -> int:
        return self.steps_per_epoch * self.epochs

    def step(self, index: int) -> tuple[list[int], list[int]]:
        """The items of step `index` (0-based over the run) and their partners, in the same order."""
        epoch, nth = divmod(index, self.steps_per_epoch)
        order = epoch_order(self.seed, epoch, self.item_count)
        items = [int(item) for item in order[nth * self.batch_size : (nth + 1) * self.batch_size]]
        if not self.partner_count:
            return items, []
        return items, [retain_partner(self.seed, epoch, item, self.partner_count) for item in items]


@dataclass(frozen=True)
class RowGroup:
    """The rows of one micro-batch: items (forget rows) and partners (retain rows)."""

    items: list[TokenRow]
    partners: list[TokenRow]


def cut(items: Sequence[TokenRow], partners: Sequence[TokenRow], token_limit: int) -> list[RowGroup]:
    """Cut the rows of a step into groups of like length, none of which holds over `token_limit` tokens once padded.

    Items and partners share groups, so that one pass of the model serves both. A longer row is a group of its own.
    """
    rows = [*items, *partners]
    return [
        RowGroup([rows[i] for i in group if i < len(items)], [rows[i] for i in group if i >= len(items)])
        for group in length_buckets(rows, token_limit)
    ]
