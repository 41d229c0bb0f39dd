"""Did it forget, and at what price: each arm against the stated targets, in words and with the numbers.

What is judged, and by which aim, says `palu.reporting.axes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from palu.reporting.axes import (
    FORGET,
    LEVEL_TOLERANCE,
    PRIVLEAK_TOLERANCE,
    REMNANT_SHARE,
    UTILITY_SHARE,
    Measure,
)
from palu.reporting.cells import few, percent_text
from palu.reporting.collect import Arm, Study
from palu.reporting.initiating import Floor
from palu.reporting.statistics import Distance, two_sided_distance

WHOLE_REPLY = {"forget_probability": "probability", "extraction_strength": "extraction strength"}
SIDES = {
    "level": "at the retain model's level",
    "under": "under-forgotten",
    "over": "over-forgotten",
    "apart": "away from the retain model's level",
}
NO_RETAIN_MODEL = "the study has no retain model"
ROUNDING = 1e-12


@dataclass(frozen=True)
class Check:
    """One target: `status` is met, missed or unknown; `sentence` tells the numbers.

    value, retain, original: for the drawing; low, high: the target's range on the same scale. cost: how far the value
    is from its aim, on a scale that a choice can compare; None of what is kept, and where it is unknown.
    """

    title: str
    status: str
    sentence: str
    distance: Distance | None = None
    value: float | None = None
    retain: float | None = None
    original: float | None = None
    low: float | None = None
    high: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Judged:
    """One arm held against all targets on one part: levels of what is to be forgotten, and what is to be kept."""

    arm: Arm
    levels: tuple[Check, ...]
    utility: tuple[Check, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        return (*self.levels, *self.utility)

    @property
    def met(self) -> int:
        return sum(check.status == "met" for check in self.checks)

    @property
    def status(self) -> str:
        return _together(self.checks)

    @property
    def keeps_utility(self) -> bool:
        return _together(self.utility) == "met"

    @property
    def cost(self) -> float:
        """How far the measure that is farthest from its aim is from it."""
        return max((check.cost for check in self.levels if check.cost is not None), default=0.0)

    @property
    def kept(self) -> float:
        """What is kept, in the measure that lost most: its value as a share of the original's."""
        shares = [check.value / check.original for check in self.utility if check.value and check.original]
        return min(shares, default=0.0)


@dataclass(frozen=True)
class Verdict(Judged):
    """The verdict on the reported rows. `headline` puts it in words, `aside` tells what is no target."""

    headline: str
    aside: str


def _together(checks: Sequence[Check]) -> str:
    states = {check.status for check in checks}
    return "missed" if "missed" in states else "unknown" if "unknown" in states else "met"


def judged(study: Study, arm: Arm, part: str) -> Judged:
    """Hold an arm's mean over seeds against every target, the levels on `part`: `forget` or `validation`."""
    judges = {"level": _level_check, "low": _low_check, "zero": _zero_check}
    levels = [judges[measure.aim](study, arm, measure) for measure in study.axes.of(part)]
    return Judged(arm, tuple(levels), tuple(_utility_check(study, arm, each) for each in study.axes.utility))


def judge(study: Study, arm: Arm, floor: Floor | None) -> Verdict:
    """The verdict on the reported rows. floor: what its N would leave, where that is known."""
    found = judged(study, arm, FORGET)
    headline = _headline(found, "retain model's" if study.retain else "stated")
    return Verdict(arm, found.levels, found.utility, headline, _whole_reply(study, arm, floor))


def _whole_reply(study: Study, arm: Arm, floor: Floor | None) -> str:
    """The measures of the whole reply, with what a perfectly local method would leave of them."""
    told = []
    targets = {measure.metric for measure in study.axes.measures}
    for metric, title in WHOLE_REPLY.items():
        values, reason = arm.measured(metric)
        if reason is not None or metric in targets:
            continue
        retain = study.retain.measured(metric).value if study.retain else None
        limit = floor.of(metric) if floor else None
        beside = [f"retain model {retain:.3f}"] if retain is not None else []
        beside += [f"a perfectly local method {limit:.3f}"] if limit is not None else []
        told.append(f"{title} {sum(values) / len(values):.3f}" + (f" ({', '.join(beside)})" if beside else ""))
    return "; ".join(told)


def _headline(found: Judged, whose: str) -> str:
    sides = {check.distance.side for check in found.levels if check.distance}
    if "under" in sides:
        forgotten = f"Not forgotten to the {whose} level"
    elif "over" in sides:
        forgotten = "Over-forgotten"
    elif "apart" in sides:
        forgotten = f"Away from the {whose} level"
    elif any(check.status == "unknown" for check in found.levels):
        forgotten = "Forgetting cannot be judged in full"
    else:
        forgotten = f"Forgotten to the {whose} level"
    price = {"met": "utility kept", "missed": "utility lost", "unknown": "utility unknown"}[_together(found.utility)]
    return f"{forgotten}, {price}"


def _seeds(values: list[float], holds: list[bool]) -> str:
    return f"; holds in {sum(holds)} of {len(values)} seeds" if len(values) > 1 else ""


def _mean(study: Study, arm: Arm, metric: str) -> tuple[list[float], float | None, float | None, str | None]:
    """The seeds' values, the retain model's and the original's, and why one of the first two is missing."""
    values, reason = arm.measured(metric)
    original = study.original.measured(metric).value
    if reason is not None:
        return [], None, original, reason
    if study.retain is None:
        return values, None, original, NO_RETAIN_MODEL
    retain = study.retain.measured(metric)
    return values, retain.value, original, f"the retain model has none: {retain.reason}" if retain.reason else None


def _unknown(measure: Measure, value: float | None, reason: str | None, **known: float | None) -> Check:
    number = f"{value:.3f}; " if value is not None else ""
    return Check(measure.title, "unknown", f"{number}cannot be judged: {reason}", None, value, **known)


def _level_check(study: Study, arm: Arm, measure: Measure) -> Check:
    """Two-sided: the retain model's level."""
    values, retain, original, reason = _mean(study, arm, measure.metric)
    value = sum(values) / len(values) if values else None
    if value is None or retain is None:
        return _unknown(measure, value, reason, retain=retain, original=original)
    distance = two_sided_distance(value, retain, original, LEVEL_TOLERANCE)
    holds = [abs(each - retain) <= LEVEL_TOLERANCE + ROUNDING for each in values]
    before = f", original {original:.3f}" if original is not None else ""
    if distance.side == "level":
        outcome = f"within {LEVEL_TOLERANCE:g}"
    else:
        direction = "above" if distance.difference > 0 else "below"
        outcome = f"{abs(distance.difference):.3f} {direction}, allowed {LEVEL_TOLERANCE:g}: {SIDES[distance.side]}"
    sentence = f"{value:.3f} (retain model {retain:.3f}{before}): {outcome}{_seeds(values, holds)}"
    status = "met" if distance.side == "level" else "missed"
    low, high = retain - LEVEL_TOLERANCE, retain + LEVEL_TOLERANCE
    return Check(
        measure.title, status, sentence, distance, value, retain, original, low, high, abs(distance.difference)
    )


def _low_check(study: Study, arm: Arm, measure: Measure) -> Check:
    """One-sided: not above the retain model's level; without one, not above a share of the original's."""
    values, retain, original, reason = _mean(study, arm, measure.metric)
    value = sum(values) / len(values) if values else None
    if value is None or (retain is None and original is None):
        return _unknown(measure, value, reason, retain=retain, original=original)
    if retain is not None:
        bound = retain + LEVEL_TOLERANCE
        beside = [f"retain model {retain:.3f}"] + ([f"original {original:.3f}"] if original is not None else [])
        target = f"{bound:.3f}, the retain model's level and {LEVEL_TOLERANCE:g}"
    else:
        assert original is not None
        bound = REMNANT_SHARE * original
        beside = [f"{value / original:.1%} of the original's {original:.3f}" if original else "original 0"]
        target = f"{bound:.3f}, {REMNANT_SHARE:.0%} of the original's: {reason}, so the bound is ours"
    is_met = value <= bound + ROUNDING
    holds = [each <= bound + ROUNDING for each in values]
    over = f"{value - bound:.3f} above the target of at most" if not is_met else "at most"
    sentence = f"{value:.3f} ({', '.join(beside)}): {over} {target}{_seeds(values, holds)}"
    distance = Distance(value - bound, "level" if is_met else "under")
    cost = value / original if original else value
    status = "met" if is_met else "missed"
    return Check(measure.title, status, sentence, distance, value, retain, original, 0.0, bound, cost)


def _zero_check(study: Study, arm: Arm, measure: Measure) -> Check:
    """Two-sided: percent around zero; below it the rows still look like members."""
    values, reason = arm.measured(measure.metric)
    if reason is not None:
        return _unknown(measure, None, reason)
    value = sum(values) / len(values)
    original = study.original.measured(measure.metric).value
    before = f" (original {percent_text(original)})" if original is not None else ""
    holds = [abs(each) <= PRIVLEAK_TOLERANCE for each in values]
    is_met = abs(value) <= PRIVLEAK_TOLERANCE
    side = "level" if is_met else "under" if value < 0 else "over"
    outcome = f"within {PRIVLEAK_TOLERANCE:g} of 0" if is_met else f"allowed ±{PRIVLEAK_TOLERANCE:g}: {SIDES[side]}"
    sentence = f"{percent_text(value)}{before}: {outcome}{_seeds(values, holds)}"
    distance = Distance(value, side)
    status = "met" if is_met else "missed"
    return Check(measure.title, status, sentence, distance, value, None, original, cost=abs(value) / 100)


def _utility_check(study: Study, arm: Arm, measure: Measure) -> Check:
    values, reason = arm.measured(measure.metric)
    original = study.original.measured(measure.metric)
    if reason is not None or original.value is None:
        return _unknown(measure, None, reason or original.reason)
    value = sum(values) / len(values)
    needed = UTILITY_SHARE * original.value
    status = "met" if value >= needed - ROUNDING else "missed"
    share = f"{value / original.value:.1%} of the original's" if original.value > 0 else "the original's is"
    sentence = (
        f"{value:.3f}, {share} {original.value:.3f}; target at least {UTILITY_SHARE:.0%}"
        f"{_seeds(values, [each >= needed - ROUNDING for each in values])}"
    )
    retain = study.retain.measured(measure.metric).value if study.retain else None
    return Check(measure.title, status, sentence, None, value, retain, original.value, needed, 1.0)


def overview(verdicts: Sequence[Judged]) -> str:
    """One sentence over all arms: who meets every target, who comes nearest."""
    targets = len(verdicts[0].checks)
    whole = [verdict.arm.name for verdict in verdicts if verdict.met == targets]
    if whole:
        return f"{len(whole)} of {len(verdicts)} meet all {targets} targets: {few(whole)}."
    most = max(verdict.met for verdict in verdicts)
    nearest = [verdict.arm.name for verdict in verdicts if verdict.met == most]
    return f"None of {len(verdicts)} meets all {targets} targets; most met: {most} ({few(nearest)})."


def targets(study: Study) -> str:
    """What is judged, in words."""
    measures = study.axes.forgetting
    named = {aim: [each.title for each in measures if each.aim == aim] for aim in ("level", "low", "zero")}
    parts = []
    if named["level"]:
        parts.append(
            f"{_listed(named['level'])} within {LEVEL_TOLERANCE:g} of the retain model, which never saw the "
            f"forgotten rows, on either side"
        )
    if named["low"] and study.retain is not None:
        parts.append(
            f"{_listed(named['low'])} at most {LEVEL_TOLERANCE:g} above the retain model, which never saw the "
            f"forgotten rows"
        )
    elif named["low"]:
        parts.append(
            f"{_listed(named['low'])} at most {REMNANT_SHARE:.0%} of the original's, a bound of ours as "
            f"{NO_RETAIN_MODEL}"
        )
    if named["zero"]:
        parts.append(f"{_listed(named['zero'])} within {PRIVLEAK_TOLERANCE:g} of 0")
    kept = _listed([each.title for each in study.axes.utility])
    parts.append(f"{kept} at least {UTILITY_SHARE:.0%} of the original's")
    return f"Targets: {'; '.join(parts)}. A method's mean over seeds is judged."


def _listed(titles: Sequence[str]) -> str:
    words = [title[0].lower() + title[1:] if title.split()[0][1:].islower() else title for title in titles]
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
