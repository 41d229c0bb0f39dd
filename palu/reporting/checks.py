"""One arm held against one aim: met, missed or undecided; or level with the retain model, under, over or undecided.

What is compared is the arm's value and its bound in the same draws of a paired bootstrap: the 95% interval of their
difference, moved to the bound, is [low, high]. A target is met where the whole interval keeps the bound, missed where
none of it does, and undecided otherwise. What is shown on both sides is level where the interval is within the range
around the retain model, under- or over-forgotten where it is outside, and undecided otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from palu.evaluation.metrics import (
    DISTANCE_TOLERANCE,
    LEAK_SHARE,
    LEVEL_TOLERANCE,
    PRIVLEAK_TOLERANCE,
    RATIO_TOLERANCE,
    UTILITY_SHARE,
    Metric,
)
from palu.reporting.load import Arm, Evaluation, Study
from palu.reporting.numbers import metric_text, number_text
from palu.reporting.resampling import TINY, Bootstrap, Drawn, NotMeasured, interval

MET, MISSED, UNDECIDED, NOT_MEASURED = "met", "missed", "undecided", "not measured"
LEVEL, UNDER, OVER, APART = "level", "under-forgotten", "over-forgotten", "not level"
NO_RETAIN_MODEL = "the study has no retain model"
RETAIN_ANSWERS = "retain_answer_nll"
# Of n items that are all equal a bootstrap draws no other; the 95% limit on the share of others is then 3 / n
# (Hanley and Lippman-Hand 1983, the rule of three).
RULE_OF_THREE = 3.0
ROUNDING = 1e-12
TARGET_AIMS = ("leak", "language", "answer", "keep")
# The value of an attack that is never wrong. It says which side is which, also where the original resists the attack.
ALWAYS_RIGHT = 1.0
# The reference attack measures against the retain model, so a model at its level ties on every row.
REFERENCE_LEVEL = {"mia_reference": 0.5}

SIGNS = {MET: "✓", MISSED: "✗", UNDECIDED: "?", NOT_MEASURED: "–"}
STYLES = {NOT_MEASURED: "unknown", APART: "undecided", UNDER: "under", OVER: "over"}

Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class Check:
    """A metric's status with its numbers. low, high: the interval; aim: the range that is asked for, in the value's
    scale; words: the aim in words; distance: how far a leak is above its goal, for a choice between settings."""

    metric: Metric
    status: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    retain: float | None = None
    original: float | None = None
    aim: Range | None = None
    words: str = ""
    reason: str | None = None
    distance: float | None = None

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def title(self) -> str:
        return self.metric.title

    @property
    def mark(self) -> str:
        """The status as a word of the style sheet."""
        return STYLES.get(self.status, self.status)

    @property
    def sign(self) -> str:
        return SIGNS.get(self.status, "")

    @property
    def sentence(self) -> str:
        """The numbers and the aim in words, or the reason why nothing can be judged."""
        number = metric_text(self.metric.name, self.value)
        if self.interval is None:
            return f"{'' if self.value is None else number + '; '}cannot be judged: {self.reason}"
        return f"{number} {self.interval}, {self.words}"

    @property
    def interval(self) -> str | None:
        """The interval in brackets, if there is one."""
        if self.low is None or self.high is None:
            return None
        return f"[{metric_text(self.metric.name, self.low)}, {metric_text(self.metric.name, self.high)}]"

    @property
    def facts(self) -> Mapping[str, Any]:
        """The check as verdict.json holds it."""
        return {
            "target": self.metric.aim in TARGET_AIMS,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "original": self.original,
            "retain": self.retain,
            "aim": self.aim,
            "status": self.status,
            "reason": self.reason,
        }


def check(study: Study, bootstrap: Bootstrap, arm: Arm, metric: Metric) -> Check:
    """Hold an arm's mean over seeds against the aim of a metric."""
    values, _ = arm.measured(metric.name)
    original = study.original.measured(metric.name).value
    retain = study.retain.measured(metric.name).value if study.retain else None
    try:
        if metric.aim in TARGET_AIMS:
            return _target(study, bootstrap, arm, metric, original, retain)
        return _two_sided(study, bootstrap, arm, metric, original, retain)
    except NotMeasured as missing:
        mean = sum(values) / len(values) if len(values) == len(arm.runs) else None
        return Check(metric, NOT_MEASURED, mean, retain=retain, original=original, reason=str(missing))


def _target(
    study: Study, bootstrap: Bootstrap, arm: Arm, metric: Metric, original: float | None, retain: float | None
) -> Check:
    drawn = bootstrap.arm(arm, metric.name)
    bound, words = _bound(study, bootstrap, metric)
    margin = drawn - bound
    low, high = interval(margin)
    # what is kept cannot differ where the arm gets the original's items right and no other
    differing = drawn - bound / UTILITY_SHARE if metric.aim == "keep" else margin
    if metric.is_share and np.ptp(differing[1:]) <= ROUNDING:
        half = RULE_OF_THREE / bootstrap.item_count(metric.name)
        low, high = low - half, high + half
    value, limit = float(drawn[0]), float(bound[0])
    # how far from the bound the interval reaches on the wrong side and on the right one
    worst, best = (-low, -high) if metric.aim == "keep" else (high, low)
    status = MET if worst <= ROUNDING else MISSED if best > ROUNDING else UNDECIDED
    bottom, top = (0.0 if abs(end) <= ROUNDING else end for end in (limit + low, limit + high))
    if metric.is_share:
        bottom, top = max(bottom, 0.0), min(top, 1.0)
    aim: Range = (limit, None) if metric.aim == "keep" else (None, limit)
    distance = max(0.0, value - (retain or 0.0)) if metric.aim == "leak" else None
    return Check(metric, status, value, bottom, top, retain, original, aim, words, distance=distance)


def _bound(study: Study, bootstrap: Bootstrap, metric: Metric) -> tuple[Drawn, str]:
    """The bound of a target in each draw, and the aim in words."""
    if metric.aim == "keep":
        level = _of(bootstrap, study.original, "the original", metric.name)
        return UTILITY_SHARE * level, f"at least {_bounded(UTILITY_SHARE * level, f'{UTILITY_SHARE:.0%} of', level)}"
    if metric.aim == "answer":
        if study.retain is not None:
            bound, whose = (
                _quartile(bootstrap, study.retain, "the retain model", metric.name),
                "the retain model's answers",
            )
        else:
            bound = _quartile(bootstrap, study.original, "the original", RETAIN_ANSWERS)
            whose = "the original's answers to retain prompts"
        return bound, f"at most {number_text(bound[0])}, the upper quartile of {whose}"
    if study.retain is not None:
        level = _of(bootstrap, study.retain, "the retain model", metric.name)
        words = f"{LEVEL_TOLERANCE:g} above the retain model's {number_text(level[0])}"
        return level + LEVEL_TOLERANCE, f"at most {number_text(level[0] + LEVEL_TOLERANCE)}, {words}"
    level = _of(bootstrap, study.original, "the original", metric.name)
    if metric.aim == "leak":
        return LEAK_SHARE * level, f"at most {_bounded(LEAK_SHARE * level, 'a tenth of', level)}"
    words = f"{LEVEL_TOLERANCE:g} above the original's {number_text(level[0])}"
    return level + LEVEL_TOLERANCE, f"at most {number_text(level[0] + LEVEL_TOLERANCE)}, {words}"


def _bounded(bound: Drawn, share: str, level: Drawn) -> str:
    return f"{number_text(bound[0])}, {share} the original's {number_text(level[0])}"


def _of(bootstrap: Bootstrap, evaluation: Evaluation, whose: str, metric: str) -> Drawn:
    try:
        return bootstrap.of(evaluation, metric)
    except NotMeasured as missing:
        raise NotMeasured(f"{whose} has none: {missing}") from None


def _quartile(bootstrap: Bootstrap, evaluation: Evaluation, whose: str, metric: str) -> Drawn:
    _of(bootstrap, evaluation, whose, metric)
    return bootstrap.upper_quartile(evaluation, metric)


def _two_sided(
    study: Study, bootstrap: Bootstrap, arm: Arm, metric: Metric, original: float | None, retain: float | None
) -> Check:
    drawn = bootstrap.arm(arm, metric.name)
    if study.retain is None:
        raise NotMeasured(NO_RETAIN_MODEL)
    if metric.aim == "apart":
        return _apart(study.retain, bootstrap, arm, metric, float(drawn[0]), original)
    tolerance, far = LEVEL_TOLERANCE, original
    if metric.aim == "zero":
        level, tolerance, far = np.zeros_like(drawn), PRIVLEAK_TOLERANCE, -100.0
    elif metric.name in REFERENCE_LEVEL:
        level, far = np.full_like(drawn, REFERENCE_LEVEL[metric.name]), ALWAYS_RIGHT
    else:
        level = _of(bootstrap, study.retain, "the retain model", metric.name)
        far = ALWAYS_RIGHT if metric.aim == "attack" else original
    value, goal = float(drawn[0]), float(level[0])
    if metric.aim == "ratio":
        low, high = np.exp(interval(np.log(np.maximum(drawn, TINY)) - np.log(np.maximum(level, TINY)))) * goal
        wanted = goal / RATIO_TOLERANCE, goal * RATIO_TOLERANCE
    else:
        low, high = (end + goal for end in interval(drawn - level))
        wanted = goal - tolerance, goal + tolerance
    status = _side(low, high, wanted, far)
    bottom, top, near = (metric_text(metric.name, each) for each in (*wanted, goal))
    words = f"level from {bottom} to {top}" + (f" (retain model {near})" if metric.aim != "zero" else "")
    return Check(metric, status, value, float(low), float(high), retain, original, wanted, words)


def _side(low: float, high: float, wanted: tuple[float, float], far: float | None) -> str:
    """Where an interval is; far: the value of a model that forgot nothing, which says which side is which."""
    bottom, top = wanted
    if bottom - ROUNDING <= low and high <= top + ROUNDING:
        return LEVEL
    if low <= top and high >= bottom:
        return UNDECIDED
    if far is None or bottom <= far <= top:
        return APART
    return UNDER if (far > top) == (low > top) else OVER


def _apart(
    retain: Evaluation, bootstrap: Bootstrap, arm: Arm, metric: Metric, value: float, original: float | None
) -> Check:
    """D has no sides; a model that prefers the truth more than the retain model does is under-forgotten."""
    low, high = bootstrap.distance_band(arm.name, [run.evaluation for run in arm.runs])
    own = [bootstrap.truth_preference(run.evaluation) for run in arm.runs]
    status = LEVEL if high <= DISTANCE_TOLERANCE else UNDECIDED
    if low > DISTANCE_TOLERANCE:
        status = UNDER if sum(own) / len(own) < bootstrap.truth_preference(retain) else OVER
    words = f"level up to {DISTANCE_TOLERANCE:g} (retain model 0)"
    return Check(metric, status, value, low, high, 0.0, original, (0.0, DISTANCE_TOLERANCE), words)
