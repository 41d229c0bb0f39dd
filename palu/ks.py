"""The two-sample Kolmogorov-Smirnov test as it should be read: attainable p-values, neighbours, intervals.

Pure functions of numbers. Forget quality is the p-value of a two-sample Kolmogorov-Smirnov test between the truth
ratios of an unlearned model and those of the retain model (TOFU, arXiv 2401.06121, section 2.2.3). The statistic D is
the largest distance between two empirical distribution functions, so with n and m items it is a multiple of
1 / lcm(n, m) and the p-value takes only as many values: two neighbours are one item apart.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KsPoint:
    """One attainable outcome of the test: the statistic D and its p-value."""

    statistic: float
    p_value: float


@dataclass(frozen=True)
class KsNeighbours:
    """An outcome and the attainable ones on either side; None at the ends of the scale."""

    here: KsPoint
    smaller: KsPoint | None
    larger: KsPoint | None


def ks_statistic(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest distance between the two empirical distribution functions."""
    # a second to load, which those who ask for no test need not wait
    from scipy.stats import ks_2samp

    return float(ks_2samp(first, second, method="asymp").statistic)


def _samples_at(multiple: int, first_count: int, second_count: int) -> tuple[list[int], list[int]] | None:
    """Two samples whose statistic is `multiple` / lcm(n, m), or None where no two samples have it.

    Walk through the merged sample and take an item of the first sample whenever its distribution function then leads
    by no more than the wanted distance: of all orders that stay within it, this one comes nearest to it.
    """
    lcm = math.lcm(first_count, second_count)
    rise, fall = lcm // first_count, lcm // second_count
    first: list[int] = []
    second: list[int] = []
    lead = reached = 0
    for place in range(first_count + second_count):
        if len(first) < first_count and (lead + rise <= multiple or len(second) == second_count):
            first.append(place)
            lead += rise
        else:
            second.append(place)
            lead -= fall
        reached = max(reached, abs(lead))
    return (first, second) if reached == multiple else None


@lru_cache(maxsize=4096)
def ks_p_value(multiple: int, first_count: int, second_count: int) -> float | None:
    """The p-value that `scipy.stats.ks_2samp` gives to D = `multiple` / lcm(n, m); None where D is not attainable.

    Equals ks_2samp on any two samples with that statistic (exact up to 10,000 items, as scipy chooses by itself);
    such samples are built and handed to it, so that there is one definition of the p-value. D = 0 needs tied samples
    and has p = 1.
    """
    from scipy.stats import ks_2samp

    if multiple == 0:
        return 1.0
    samples = _samples_at(multiple, first_count, second_count)
    if samples is None:
        return None
    with warnings.catch_warnings():
        # its exact sum for the smallest statistic can round to above 1, which it reports and takes for 1
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ks_2samp(*samples).pvalue)


def _point(multiple: int, first_count: int, second_count: int) -> KsPoint | None:
    p_value = ks_p_value(multiple, first_count, second_count)
    statistic = multiple / math.lcm(first_count, second_count)
    return KsPoint(statistic, p_value) if p_value is not None else None


def ks_neighbours(statistic: float, first_count: int, second_count: int) -> KsNeighbours:
    """The outcome with this statistic and the nearest attainable ones: one item more or less apart.

    Raises ValueError when the statistic cannot come from samples of these sizes without ties.
    """
    multiple = _multiple(statistic, first_count, second_count)
    here = _point(multiple, first_count, second_count)
    if here is None:
        raise ValueError(f"D = {statistic} cannot come from samples of {first_count} and {second_count} items")
    return KsNeighbours(here, *_beside(multiple, first_count, second_count))


def _multiple(statistic: float, first_count: int, second_count: int) -> int:
    """D as a multiple of 1 / lcm(n, m). Raises ValueError where it is none, or not within 0..1."""
    lcm = math.lcm(first_count, second_count)
    if not 0 <= statistic <= 1 or abs(statistic * lcm - round(statistic * lcm)) > 1e-6 * lcm:
        raise ValueError(f"D = {statistic} cannot come from samples of {first_count} and {second_count} items")
    return round(statistic * lcm)


def _beside(multiple: int, first_count: int, second_count: int) -> tuple[KsPoint | None, KsPoint | None]:
    """The nearest attainable outcomes with a smaller and a larger statistic."""
    lcm = math.lcm(first_count, second_count)
    below = (_point(nth, first_count, second_count) for nth in range(multiple - 1, -1, -1))
    above = (_point(nth, first_count, second_count) for nth in range(multiple + 1, lcm + 1))
    return next((point for point in below if point), None), next((point for point in above if point), None)


# Draws of a bootstrap, and the share of them that its interval holds
RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An interval from `resamples` draws."""

    low: float
    high: float
    level: float
    resamples: int


def bootstrap_ks(
    runs: Sequence[Sequence[float]],
    reference: Sequence[float],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Interval over items for the KS statistic between runs and the reference, averaged over the runs.

    With F, G the two empirical distribution functions and F*, G* those of n items drawn with replacement:

        D +- the `level` quantile over draws of sup |(F* - G*) - (F - G)|

    cut at 0 and 1. Quantiles of D* = sup |F* - G*| themselves would not do: an item drawn twice moves D* up, most of
    all near 0. Since | sup |a| - sup |b| | <= sup |a - b|, the band holds the true D at least as often as it says,
    also where it is 0 (docs/measurements.md has the shares). An item is drawn together with all its values, because
    every model was asked the same items. runs: S sequences of n values, in the reference's item order. Raises
    ValueError for no runs, no items or sequences of different lengths.
    """
    item_count = len(reference)
    if not runs or not item_count or any(len(run) != item_count for run in runs):
        raise ValueError("the bootstrap needs runs and a reference over the same items, at least one")
    ordered = [OrderedPair(np.asarray(run, np.float64), np.asarray(reference, np.float64)) for run in runs]
    once = np.ones((1, item_count), np.int64)
    observed = float(np.mean([run.statistics(once) for run in ordered]))
    blocks = resampled_weights(item_count, resamples, seed)
    moved = np.concatenate([np.mean([run.moves(weights) for run in ordered], axis=0) for weights in blocks])
    half = float(np.quantile(moved, level))
    return Interval(max(observed - half, 0.0), min(observed + half, 1.0), level, resamples)


# Draws that are held at once
_BLOCK = 64


def resampled_weights(item_count: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each item is in each draw of n items with replacement, (draws, items), a block of draws at a time."""
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        draws = generator.integers(0, item_count, size=(count, item_count))
        draws += np.arange(count)[:, None] * item_count
        yield np.bincount(draws.ravel(), minlength=count * item_count).reshape(count, item_count)


class OrderedPair:
    """Two samples over the same n items in the order of their values, from which weighted KS statistics follow."""

    def __init__(self, first: Floats, second: Floats) -> None:
        count = len(first)
        values = np.concatenate([first, second])
        order = np.argsort(values, kind="stable")
        self._count = count
        self._item = np.tile(np.arange(count), 2)[order]
        self._sign = np.repeat([1, -1], count)[order].astype(np.int32)
        # distribution functions are compared after all items with the same value
        self._ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))
        self._once = self._leads(np.ones((1, count), np.int32))

    def statistics(self, weights: npt.NDArray[Any]) -> Floats:
        """sup |F - G| of each row of item weights, (draws, n) -> (draws,)."""
        return self._largest(self._leads(weights))

    def moves(self, weights: npt.NDArray[Any]) -> Floats:
        """sup |(F* - G*) - (F - G)| of each row of item weights, F and G having each item once."""
        return self._largest(self._leads(weights) - self._once)

    def _leads(self, weights: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """n (F - G) after each value, (draws, values)."""
        lead = np.take(weights.astype(np.int32), self._item, axis=1)
        lead *= self._sign
        np.cumsum(lead, axis=1, out=lead)
        return lead if len(self._ends) == lead.shape[1] else lead[:, self._ends]

    def _largest(self, leads: npt.NDArray[np.int32]) -> Floats:
        found: Floats = np.maximum(leads.max(axis=1), -leads.min(axis=1)) / self._count
        return found


def _p_text(value: float) -> str:
    """A p-value as plain text: four decimals while they tell neighbours apart, else three digits."""
    return f"{value:.4f}" if value >= 0.001 else f"{value:.3g}"


def describe(
    statistic: float, p_value: float, first_count: int, second_count: int, interval: Interval | None = None
) -> str:
    """The test's outcome in one line for a terminal, such as

    p = 5.87e-14 (D = 0.385, 95% interval over items [0.32, 0.46]; one step away: p = 1.6e-13, 2.1e-14)

    One step away are the nearest attainable p-values, first that of the smaller statistic; at an end of the scale
    there is only one. p_value is written as given, so that the line agrees with what a summary holds. Raises
    ValueError where D is no multiple of 1 / lcm(n, m), or not within 0..1.
    """
    beside = _beside(_multiple(statistic, first_count, second_count), first_count, second_count)
    known = [f"D = {statistic:.3f}"]
    if interval is not None:
        known.append(f"{interval.level:.0%} interval over items [{interval.low:.2f}, {interval.high:.2f}]")
    neighbours = ", ".join(_short(point.p_value) for point in beside if point is not None)
    return f"p = {_p_text(p_value)} ({', '.join(known)}; one step away: p = {neighbours})"


def _short(p_value: float) -> str:
    return f"{p_value:.4f}" if p_value >= 0.001 else f"{p_value:.1e}"
