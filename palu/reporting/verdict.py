"""Did it forget, and at what price: each arm against the stated targets, in words and with the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from palu.reporting.cells import few
from palu.reporting.collect import Arm, Study
from palu.reporting.initiating import Floor
from palu.reporting.statistics import Distance, two_sided_distance

# The targets: forgetting is judged by how near a model comes to one that never saw the forget set, the price by what
# is left of the original's utility.
LEVEL_TOLERANCE = 0.05
UTILITY_SHARE = 0.95
# What is measured of a part that is to be forgotten, and has to come to the retain model's level.
FORGET = "forget"
LEVELS = {"initiating_probability": "Initiating-token probability", "rouge": "Forget ROUGE"}
UTILITY = "model_utility"
WHOLE_REPLY = {"forget_probability": "probability", "extraction_strength": "extraction strength"}
SIDES = {
    "level": "at the retain model's level",
    "under": "under-forgotten",
    "over": "over-forgotten",
    "apart": "away from the retain model's level",
}


@dataclass(frozen=True)
class Check:
    """One target: `status` is met, missed or unknown; `sentence` tells the numbers.

    value, retain, original: for the drawing; low, high: the target's range on the same scale.
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


@dataclass(frozen=True)
class Judged:
    """One arm held against all targets on one part: the levels, and last the utility."""

    arm: Arm
    checks: tuple[Check, ...]

    @property
    def met(self) -> int:
        return sum(check.status == "met" for check in self.checks)

    @property
    def status(self) -> str:
        states = {check.status for check in self.checks}
        return "missed" if "missed" in states else "unknown" if "unknown" in states else "met"


@dataclass(frozen=True)
class Verdict(Judged):
    """The verdict on the reported rows. `headline` puts it in words, `aside` tells what is no target."""

    headline: str
    aside: str


def judged(study: Study, arm: Arm, part: str) -> Judged:
    """Hold an arm's mean over seeds against every target, the levels on `part`: `forget` or `validation`."""
    levels = [_level_check(study, arm, f"{part}_{kind}", title) for kind, title in LEVELS.items()]
    return Judged(arm, (*levels, _utility_check(study, arm)))


def judge(study: Study, arm: Arm, floor: Floor | None) -> Verdict:
    """The verdict on the reported rows. floor: what the arm's N implies, where that is known."""
    checks = judged(study, arm, FORGET).checks
    return Verdict(arm, checks, _headline(checks[:-1], checks[-1]), _whole_reply(study, arm, floor))


def _whole_reply(study: Study, arm: Arm, floor: Floor | None) -> str:
    """The measures of the whole reply, with the floor under which a localized method is not meant to go."""
    told = []
    for metric, title in WHOLE_REPLY.items():
        values, reason = arm.measured(metric)
        if reason is not None:
            continue
        retain = study.retain.measured(metric).value if study.retain else None
        limit = floor.of(metric) if floor else None
        beside = [f"retain model {retain:.3f}"] if retain is not None else []
        beside += [f"floor {limit:.3f}"] if limit is not None else []
        told.append(f"{title} {sum(values) / len(values):.3f}" + (f" ({', '.join(beside)})" if beside else ""))
    return "; ".join(told)


def _headline(levels: Sequence[Check], utility: Check) -> str:
    sides = {check.distance.side for check in levels if check.distance}
    if "under" in sides:
        forgotten = "Not forgotten to the retain model's level"
    elif "over" in sides:
        forgotten = "Over-forgotten"
    elif "apart" in sides:
        forgotten = "Away from the retain model's level"
    elif any(check.status == "unknown" for check in levels):
        forgotten = "Forgetting cannot be judged in full"
    else:
        forgotten = "Forgotten to the retain model's level"
    price = {"met": "utility kept", "missed": "utility lost", "unknown": "utility unknown"}[utility.status]
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
        return values, None, original, "the study has no retain model"
    retain = study.retain.measured(metric)
    return values, retain.value, original, f"the retain model has none: {retain.reason}" if retain.reason else None


def _level_check(study: Study, arm: Arm, metric: str, title: str) -> Check:
    values, retain, original, reason = _mean(study, arm, metric)
    value = sum(values) / len(values) if values else None
    if value is None or retain is None:
        number = f"{value:.3f}; " if value is not None else ""
        return Check(title, "unknown", f"{number}cannot be judged: {reason}", None, value, retain, original)
    distance = two_sided_distance(value, retain, original, LEVEL_TOLERANCE)
    holds = [abs(each - retain) <= LEVEL_TOLERANCE + 1e-12 for each in values]
    before = f", original {original:.3f}" if original is not None else ""
    if distance.side == "level":
        outcome = f"within {LEVEL_TOLERANCE:g}"
    else:
        direction = "above" if distance.difference > 0 else "below"
        outcome = f"{abs(distance.difference):.3f} {direction}, allowed {LEVEL_TOLERANCE:g}: {SIDES[distance.side]}"
    sentence = f"{value:.3f} (retain model {retain:.3f}{before}): {outcome}{_seeds(values, holds)}"
    status = "met" if distance.side == "level" else "missed"
    low, high = retain - LEVEL_TOLERANCE, retain + LEVEL_TOLERANCE
    return Check(title, status, sentence, distance, value, retain, original, low, high)


def _utility_check(study: Study, arm: Arm) -> Check:
    title = "Model utility"
    values, reason = arm.measured(UTILITY)
    original = study.original.measured(UTILITY)
    if reason is not None or original.value is None:
        return Check(title, "unknown", f"cannot be judged: {reason or original.reason}")
    value = sum(values) / len(values)
    needed = UTILITY_SHARE * original.value
    status = "met" if value >= needed - 1e-12 else "missed"
    share = f"{value / original.value:.1%} of the original's" if original.value > 0 else "the original's is"
    sentence = (
        f"{value:.3f}, {share} {original.value:.3f}; target at least {UTILITY_SHARE:.0%}"
        f"{_seeds(values, [each >= needed - 1e-12 for each in values])}"
    )
    retain = study.retain.measured(UTILITY).value if study.retain else None
    return Check(title, status, sentence, None, value, retain, original.value, needed, 1.0)


def overview(verdicts: list[Verdict]) -> str:
    """One sentence over all arms: who meets every target, who comes nearest."""
    targets = len(verdicts[0].checks)
    whole = [verdict.arm.name for verdict in verdicts if verdict.met == targets]
    if whole:
        return f"{len(whole)} of {len(verdicts)} meet all {targets} targets: {few(whole)}."
    most = max(verdict.met for verdict in verdicts)
    nearest = [verdict.arm.name for verdict in verdicts if verdict.met == most]
    return f"None of {len(verdicts)} meets all {targets} targets; most met: {most} ({few(nearest)})."
