"""What can be said of one number over a few seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class Spread:
    """Some seeds' values of one number; `deviation` is the sample standard deviation, None for a single seed."""

    mean: float
    deviation: float | None
    low: float
    high: float
    median: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread over seeds. Raises ValueError for no values: a mean of nothing is an error."""
    if not values:
        raise ValueError("no values to average")
    array = np.asarray(values, dtype=np.float64)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else None
    mean, median = float(array.mean()), float(np.median(array))
    return Spread(mean, deviation, float(array.min()), float(array.max()), median, len(array))


@dataclass(frozen=True)
class SeedInterval:
    """The mean of one number over seeds and the 95% confidence interval of that mean."""

    mean: float
    low: float
    high: float
    count: int


def seed_interval(values: Sequence[float]) -> SeedInterval:
    """Student's interval, mean +- t(0.975, n - 1) s / sqrt(n), with s the sample standard deviation.

    It says what another choice of seeds could change, and nothing about other rows. Raises ValueError for less than
    two values.
    """
    its = spread(values)
    if its.deviation is None:
        raise ValueError("one value has no interval")
    half = float(student.ppf(0.975, its.count - 1)) * its.deviation / its.count**0.5
    return SeedInterval(its.mean, its.mean - half, its.mean + half, its.count)
