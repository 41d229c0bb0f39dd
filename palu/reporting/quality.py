"""Forget quality as it should be read: D with its interval and ties, p between its attainable neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from palu.ks import LEVEL, KsNeighbours, ks_neighbours
from palu.reporting.load import Arm, Study
from palu.reporting.numbers import counted, deviation, few, number_text, p_text
from palu.reporting.resampling import TRUTH_RATIO, Bootstrap, NotMeasured, tied_pairs
from palu.reporting.targets import P_VALUE, STATISTIC


@dataclass(frozen=True)
class Quality:
    """Forget quality of an arm over its seeds.

    statistics, p_values: of each seed, empty where one has none. median: the outcome of the median seed (of two in the
    middle the worse) and the attainable ones next to it. interval: over items and seeds, of the mean statistic.
    item_count: of it and of the retain model. missing: why one of these is None. tied: the arms whose D does not
    surely differ.
    """

    statistics: tuple[float, ...] = ()
    p_values: tuple[float, ...] = ()
    median: KsNeighbours | None = None
    interval: tuple[float, float] | None = None
    item_count: int | None = None
    missing: str | None = None
    tied: tuple[str, ...] = ()

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.statistics)) if self.statistics else None

    @property
    def words(self) -> str:
        """D with its spread over seeds and its interval, p between its attainable neighbours, and ties."""
        if self.mean is None:
            return f"no D: {self.missing or 'no reason was given'}"
        seeds, spread = counted(len(self.statistics), "seed"), deviation(self.statistics)
        over = f"± {number_text(spread)} over {seeds}" if spread is not None else f"({seeds}, no spread)"
        parts = [f"D = {self.mean:.3f} {over}"]
        if self.interval is not None:
            parts[0] += f", {LEVEL:.0%} interval [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"
        if self.median is not None:
            near = [p_text(point.p_value) for point in (self.median.smaller, self.median.larger) if point]
            of = "median seed, " if len(self.statistics) > 1 else ""
            parts.append(f"p = {p_text(self.median.here.p_value)} ({of}one item away {' and '.join(near)})")
        elif self.p_values:
            parts.append(f"p = {p_text(float(np.median(self.p_values)))}")
        parts += [self.missing] if self.missing else []
        return "; ".join(parts + ([f"tied with {few(self.tied)}"] if self.tied else []))


def qualities(study: Study, bootstrap: Bootstrap) -> dict[str, Quality]:
    """Forget quality of each arm, by name, from the summaries and from the draws of the items."""
    drawn, missing = {}, {}
    for arm in study.arms:
        try:
            drawn[arm.name] = bootstrap.arm(arm, STATISTIC)
        except NotMeasured as reason:
            missing[arm.name] = str(reason)
    pairs = list(tied_pairs(drawn))
    found = {}
    for arm in study.arms:
        tied = tuple(one if other == arm.name else other for one, other in pairs if arm.name in (one, other))
        found[arm.name] = _quality(study, bootstrap, arm, missing.get(arm.name), tied)
    return found


def _quality(study: Study, bootstrap: Bootstrap, arm: Arm, missing: str | None, tied: Sequence[str]) -> Quality:
    statistics, lacking = arm.measured(STATISTIC)
    p_values, unknown = arm.measured(P_VALUE)
    p = () if unknown else tuple(p_values)
    if lacking:
        return Quality((), p, missing=lacking)
    if study.retain is None:
        missing = "the retain model's items are not here, so there are neither neighbours nor an interval"
    if missing:
        return Quality(tuple(statistics), p, missing=missing)
    count = bootstrap.item_count(TRUTH_RATIO)
    median = ks_neighbours(sorted(statistics)[len(statistics) // 2], count, count)
    interval = bootstrap.distance_band(arm.name, [run.evaluation for run in arm.runs])
    return Quality(tuple(statistics), p, median, interval, count, tied=tuple(tied))


def best(found: Mapping[str, Quality]) -> list[str]:
    """The arm with the lowest mean statistic and those tied with it; empty where no arm has one."""
    ranked = sorted((its.mean, place, name) for place, (name, its) in enumerate(found.items()) if its.mean is not None)
    return [ranked[0][2], *found[ranked[0][2]].tied] if ranked else []
