"""Forget quality as it should be read: the statistic, its neighbours, an interval over items, and ties."""

from collections.abc import Sequence
from dataclasses import dataclass

from palu.ks import Interval, KsNeighbours, bootstrap_ks, ks_neighbours, ks_statistic, ks_step, ks_tied
from palu.reporting.cells import few, number_text, p_text, seeds_text
from palu.reporting.collect import Arm, Evaluation, Study
from palu.reporting.statistics import Spread, spread

STATISTIC, P_VALUE = "forget_quality_statistic", "forget_quality"


@dataclass(frozen=True)
class Quality:
    """Forget quality of one model, or of one arm over its seeds.

    statistic, p_value: spread over seeds. median: the outcome of the median seed (of two in the middle the worse)
    and the attainable ones beside it. interval: over items, of the mean statistic. item_counts: how many items of it
    and of the retain model enter. missing: why one of these is None. conflict: where the summary
    and the items tell different stories.
    """

    statistic: Spread | None = None
    p_value: Spread | None = None
    median: KsNeighbours | None = None
    interval: Interval | None = None
    item_counts: tuple[int, int] | None = None
    missing: str | None = None
    conflict: str | None = None

    @property
    def step(self) -> float | None:
        return ks_step(*self.item_counts) if self.item_counts else None

    def told(self) -> str:
        """In words: D with its spread over seeds and interval over items, p between its attainable neighbours."""
        if self.statistic is None:
            return f"no D: {self.missing or 'no reason was given'}"
        seeds, deviation = seeds_text(self.statistic.count), self.statistic.deviation
        spread_text = f"± {number_text(deviation)} over {seeds}" if deviation is not None else f"({seeds}, no spread)"
        parts = [f"D = {self.statistic.mean:.3f} {spread_text}"]
        if self.interval is not None:
            low, high = self.interval.low, self.interval.high
            parts[0] += f", {self.interval.level:.0%} interval over items [{low:.3f}, {high:.3f}]"
        if self.median is not None:
            beside = [p_text(point.p_value) for point in (self.median.smaller, self.median.larger) if point]
            of = "median seed, " if self.statistic.count > 1 else ""
            parts.append(f"p = {p_text(self.median.here.p_value)} ({of}one step away {' and '.join(beside)})")
        elif self.p_value is not None:
            parts.append(f"p = {p_text(self.p_value.median)}")
        return "; ".join([*parts, *([self.missing] if self.missing else [])])


def quality(evaluations: Sequence[Evaluation], retain: Evaluation | None) -> Quality:
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
    reference = retain.truth_ratios
    conflict = _disagreement(evaluations, reference, statistics)
    if conflict:
        return Quality(statistic, p_value, missing=conflict, conflict=conflict)
    counts = len(reference), len(reference)
    median = ks_neighbours(sorted(statistics)[len(statistics) // 2], *counts)
    return Quality(statistic, p_value, median, _interval(evaluations, reference), counts)


def _disagreement(
    evaluations: Sequence[Evaluation], reference: dict[str, float], statistics: list[float]
) -> str | None:
    """Why the items cannot stand behind the summaries' statistic; None where they give the same."""
    if not reference:
        return "the retain model's scores have no truth ratios"
    for evaluation, told in zip(evaluations, statistics, strict=True):
        ratios = evaluation.truth_ratios
        if ratios.keys() != reference.keys():
            count = f"{len(ratios)} truth ratios"
            return f"{evaluation.folder}: its {count} are not of the retain model's {len(reference)} items"
        counted = ks_statistic(list(ratios.values()), list(reference.values()))
        if abs(counted - told) > 1e-9:
            return f"{evaluation.folder}: summary.json says D = {told:.6g}, its items give {counted:.6g}"
    return None


def _interval(evaluations: Sequence[Evaluation], reference: dict[str, float]) -> Interval:
    order = sorted(reference)
    runs = [[evaluation.truth_ratios[example_id] for example_id in order] for evaluation in evaluations]
    return bootstrap_ks(runs, [reference[example_id] for example_id in order])


@dataclass(frozen=True)
class Qualities:
    """Forget quality of every row of the report."""

    references: dict[str, Quality]
    arms: dict[str, Quality]

    def ties(self, name: str) -> list[str]:
        """The other arms whose mean statistic is within one step of this arm's."""
        own = self.arms[name]
        return [
            other
            for other, its in self.arms.items()
            if other != name
            and own.statistic
            and its.statistic
            and own.step
            and ks_tied(own.statistic.mean, its.statistic.mean, own.step)
        ]

    def tie(self, name: str) -> str:
        """Whom an arm is tied with, in a few letters; empty where it is with none."""
        others = self.ties(name)
        if not others:
            return ""
        return f"tie: {others[0]}" if len(others) == 1 and len(others[0]) <= 16 else f"tie with {len(others)}"

    def told(self, name: str) -> str:
        """Forget quality of an arm in words, and whom it is tied with."""
        others = self.ties(name)
        return self.arms[name].told() + (f"; tie, within one step: {few(others)}" if others else "")

    def tied_pairs(self) -> list[tuple[str, str]]:
        """Every two arms that are tied, once, in the order of the arms."""
        names = list(self.arms)
        pairs = [(name, other) for name in names for other in self.ties(name)]
        return [(name, other) for name, other in pairs if names.index(name) < names.index(other)]

    @property
    def step(self) -> float | None:
        """One step of D between the arms and the retain model; None where no arm has one."""
        return next((its.step for its in self.arms.values() if its.step), None)

    def best(self) -> list[str]:
        """The arm with the lowest mean statistic and those tied with it; empty where no arm has one."""
        ranked = sorted(
            (its.statistic.mean, place, name) for place, (name, its) in enumerate(self.arms.items()) if its.statistic
        )
        if not ranked:
            return []
        first = ranked[0][2]
        return [first, *self.ties(first)]


def qualities(study: Study) -> Qualities:
    """Forget quality of the original, the retain model and each arm."""
    references = {name: quality([evaluation], study.retain) for name, evaluation in study.models}
    return Qualities(references, {arm.name: arm_quality(arm, study.retain) for arm in study.arms})


def arm_quality(arm: Arm, retain: Evaluation | None) -> Quality:
    """Forget quality of an arm over its seeds."""
    return quality([run.evaluation for run in arm.runs], retain)
