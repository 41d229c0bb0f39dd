"""The whole data order as a pure function of the seed: which rows make up optimiser step s, and how they are cut.

Nothing here has a state, so a resumed run, another batch size or another number of processes reads the same rows.
Draws come from raw Philox words, not from numpy's `Generator`, whose algorithms may change between releases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from palu.tokens import TokenRow, length_buckets
from palu.training.settings import LastStep, steps_per_epoch

# Distinct streams of one seed.
_ORDER, _PARTNER, _ALTERNATE = 0, 1, 2


def _words(seed: int, stream: int, *place: int, count: int) -> npt.NDArray[np.uint64]:
    """`count` random 64-bit words that belong to (seed, stream, place)."""
    words = np.random.Philox(np.random.SeedSequence((seed, stream, *place))).random_raw(count)
    return np.asarray(words, dtype=np.uint64)


def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order of rows 0..count-1 in `epoch`: a permutation, (count,) int64."""
    return np.argsort(_words(seed, _ORDER, epoch, count=count), kind="stable")


def retain_partners(seed: int, epoch: int, item: int, retain_count: int, ratio: int = 1) -> list[int]:
    """The `ratio` retain rows that are trained with forget row `item` in `epoch`, drawn uniformly with replacement."""
    # the modulus favours small indices by less than retain_count / 2^64
    return [int(word % np.uint64(retain_count)) for word in _words(seed, _PARTNER, epoch, item, count=ratio)]


def alternate_choice(seed: int, epoch: int, item: int, choice_count: int) -> int:
    """Which of its other replies stands beside forget row `item` in `epoch`, drawn uniformly."""
    return int(_words(seed, _ALTERNATE, epoch, item, count=1)[0] % np.uint64(choice_count))


@dataclass(frozen=True)
class StepRows:
    """Indices of the rows of one optimiser step.

    items: forget rows, or rows of a finetuning. partners: retain rows, as many of each item in turn, or none.
    alternates: the number of each item's other reply, or none.
    """

    items: list[int]
    partners: list[int]
    alternates: list[int]

    def share(self, process: int, processes: int) -> StepRows:
        """What one of several processes takes."""
        return self._at(slice(process, None, processes))

    def first(self) -> StepRows:
        """The first item and what is beside it."""
        return self._at(slice(1))

    def _at(self, chosen: slice) -> StepRows:
        each = len(self.partners) // len(self.items)
        starts = [place * each for place in range(len(self.items))[chosen]]
        partners = [partner for start in starts for partner in self.partners[start : start + each]]
        return StepRows(self.items[chosen], partners, self.alternates[chosen])


@dataclass(frozen=True)
class Plan:
    """The optimiser steps of a run over `item_count` rows (forget rows, or all rows of a finetuning).

    partner_count: rows from which each item draws its `retain_ratio` partners; 0 where there are none.
    alternate_count: other replies that each item has; 0 where there are none. last_step: see `TrainingSettings`; an
    epoch with fewer rows than a batch is one short step in any case.
    """

    seed: int
    item_count: int
    partner_count: int
    batch_size: int
    epochs: int
    alternate_count: int = 0
    last_step: LastStep = "short"
    retain_ratio: int = 1

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.item_count, self.batch_size, self.last_step)

    @property
    def step_count(self) -> int:
        return self.steps_per_epoch * self.epochs

    def step(self, index: int) -> StepRows:
        """The rows of step `index` (0-based over the run)."""
        epoch, nth = divmod(index, self.steps_per_epoch)
        order = epoch_order(self.seed, epoch, self.item_count)
        takes_rest = self.last_step == "merge" and nth == self.steps_per_epoch - 1
        stop = self.item_count if takes_rest else (nth + 1) * self.batch_size
        items = [int(item) for item in order[nth * self.batch_size : stop]]
        count, alternates = self.partner_count, self.alternate_count
        partners = [retain_partners(self.seed, epoch, item, count, self.retain_ratio) for item in items if count]
        return StepRows(
            items,
            [partner for own in partners for partner in own],
            [alternate_choice(self.seed, epoch, item, alternates) for item in items] if alternates else [],
        )


@dataclass(frozen=True)
class RowGroup:
    """The rows of one micro-batch: items (forget rows), partners (retain rows), each item's alternate or none."""

    items: list[TokenRow]
    partners: list[TokenRow]
    alternates: list[TokenRow]

    @property
    def rows(self) -> list[TokenRow]:
        """All of them, in this order."""
        return [*self.items, *self.partners, *self.alternates]


def cut(group: RowGroup, token_limit: int, packed: bool) -> list[RowGroup]:
    """Cut the rows of a step into groups of like length, none of which holds over `token_limit` tokens once laid out.

    Items and partners share groups, so that one pass of the model serves both; an item's alternate is in its group.
    A longer row is a group of its own.
    """
    item_count = len(group.items)
    beside: list[list[TokenRow]] = [[row] for row in group.alternates] or [[] for _ in group.items]
    units = [[len(row), *map(len, others)] for row, others in zip(group.items, beside, strict=True)]
    units += [[len(row)] for row in group.partners]
    groups = []
    for bucket in length_buckets(units, token_limit, packed):
        items = [i for i in bucket if i < item_count]
        groups.append(
            RowGroup(
                [group.items[i] for i in items],
                [group.partners[i - item_count] for i in bucket if i >= item_count],
                [row for i in items for row in beside[i]],
            )
        )
    return groups
