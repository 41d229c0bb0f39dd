"""Forget quality as it should be read: the statistic, its neighbours, an interval over items, and ties."""

from collections.abc import Sequence
from dataclasses import dataclass

from palu.ks import LEVEL, KsNeighbours, ks_neighbours
from palu.reporting.aims import P_VALUE, STATISTIC
from palu.reporting.cells import few, number_text, p_text, seeds_text
from palu.reporting.collect import TRUTH_RATIO, Evaluation, Study
from palu.reporting.resampling import Bootstrap, NotMeasured, tied_pairs
from palu.reporting.statistics import Spread, spread


@dataclass(frozen=True)
class Quality:
    """Forget quality of one model, or of one arm over its seeds.

    statistic, p_value: spread over seeds. median: the outcome of the median seed (of two in the middle the worse)
    and the attainable ones next to it. interval: over items and seeds, of the mean statistic. item_count: how many
    items of it and of the retain model enter. missing: why one of these is None.
    """

    statistic: Spread | None = None
    p_value: Spread | None = None
    median: KsNeighbours | None = None
    interval: tuple[float, float] | None = None
    item_count: int | None = None
    missing: str | None = None

    @property
    def words(self) -> str:
        """D with its spread over seeds and its interval, p between its attainable neighbours."""
        if self.statistic is None:
            return f"no D: {self.missing or 'no reason was given'}"
        seeds, deviation = seeds_text(self.statistic.count), self.statistic.deviation
        spread_text = f"± {number_text(deviation)} over {seeds}" if deviation is not None else f"({seeds}, no spread)"
        parts = [f"D = {self.statistic.mean:.3f} {spread_text}"]
        if self.interval is not None:
            parts[0] += f", {LEVEL:.0%} interval [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"
        if self.median is not None:
            near = [p_text(point.p_value) for point in (self.median.smaller, self.median.larger) if point]
            of = "median seed, " if self.statistic.count > 1 else ""
            parts.append(f"p = {p_text(self.median.here.p_value)} ({of}one item away {' and '.join(near)})")
        elif self.p_value is not None:
            parts.append(f"p = {p_text(self.p_value.median)}")
        return "; ".join([*parts, *([self.missing] if self.missing else [])])


def quality(bootstrap: Bootstrap, name: str, evaluations: Sequence[Evaluation], retain: Evaluation | None) -> Quality:
    """Gather forget quality from the summaries, and what the items add to it."""
    found = [evaluation.measured(STATISTIC) for evaluation in evaluations]
    p_values = [evaluation.measured(P_VALUE).value for evaluation in evaluations]
    statistics = [each.value for each in found if each.value is not None]
    missing = next((each.reason for each in found if each.reason is not None), None)
    p_value = spread([value for value in p_values if value is not None]) if None not in p_values else None
    if missing is not None:
        return Quality(p_value=p_value, missing=missing)
    statistic = spread(statistics)
    if retain is None:
        missing = "the retain model's items are not here, so there are neither neighbours nor an interval"
        return Quality(statistic, p_value, missing=missing)
    try:
        for evaluation in evaluations:
            bootstrap.of(evaluation, STATISTIC)
    except NotMeasured as conflict:
        return Quality(statistic, p_value, missing=str(conflict))
    count = bootstrap.item_count(TRUTH_RATIO)
    median = ks_neighbours(sorted(statistics)[len(statistics) // 2], count, count)
    return Quality(statistic, p_value, median, bootstrap.distance_band(name, evaluations), count)


@dataclass(frozen=True)
class Qualities:
    """Forget quality of every row of the report, and the pairs of arms that are tied in D."""

    references: dict[str, Quality]
    arms: dict[str, Quality]
    tied_pairs: tuple[tuple[str, str], ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether some model has forget quality."""
        return any(each.p_value or each.statistic for each in (*self.references.values(), *self.arms.values()))

    @property
    def item_count(self) -> int | None:
        """The items that a D is of; None where no arm has them."""
        return next((its.item_count for its in self.arms.values() if its.item_count), None)

    def ties(self, name: str) -> list[str]:
        """The other arms whose D no difference from this arm's is shown of."""
        return [one if other == name else other for one, other in self.tied_pairs if name in (one, other)]

    def tie(self, name: str) -> str:
        """Which arms an arm is tied with, in a few letters; empty where it is with none."""
        others = self.ties(name)
        if not others:
            return ""
        return f"tie: {others[0]}" if len(others) == 1 and len(others[0]) <= 16 else f"tie with {len(others)}"

    def words(self, name: str) -> str:
        """Forget quality of an arm in words, and which arms it is tied with."""
        others = self.ties(name)
        return self.arms[name].words + (f"; tied with {few(others)}" if others else "")

    def best(self) -> list[str]:
        """The arm with the lowest mean statistic and those tied with it; empty where no arm has one."""
        ranked = sorted(
            (its.statistic.mean, place, name) for place, (name, its) in enumerate(self.arms.items()) if its.statistic
        )
        return [ranked[0][2], *self.ties(ranked[0][2])] if ranked else []


def qualities(study: Study, bootstrap: Bootstrap) -> Qualities:
    """Forget quality of the original, the retain model and each arm."""
    references = {name: quality(bootstrap, name, [evaluation], study.retain) for name, evaluation in study.models}
    arms = {
        arm.name: quality(bootstrap, arm.name, [run.evaluation for run in arm.runs], study.retain)
        for arm in study.arms
    }
    compared = {arm.name: bootstrap.arm(arm, STATISTIC) for arm in study.arms if arms[arm.name].item_count}
    return Qualities(references, arms, tuple(tied_pairs(compared)))
