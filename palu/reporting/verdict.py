"""Did it forget, and at what price: each arm against the study's targets, in words and as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from palu.evaluation.metrics import LEVEL_TOLERANCE, UTILITY_SHARE, Metric
from palu.reporting.checks import MET, MISSED, NOT_MEASURED, RETAIN_ANSWERS, UNDECIDED, Check, check
from palu.reporting.load import Arm, Study
from palu.reporting.numbers import few
from palu.reporting.resampling import Bootstrap
from palu.reporting.targets import FORGET
from palu.tables import VALIDATION


@dataclass(frozen=True)
class Judged:
    """One arm held against all targets on one part, `forget` or `validation`. shown: what is no target."""

    arm: Arm
    gone: tuple[Check, ...]
    language: tuple[Check, ...]
    utility: tuple[Check, ...]
    shown: tuple[Check, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        return (*self.gone, *self.language, *self.utility)

    @property
    def met(self) -> int:
        return sum(each.status == MET for each in self.checks)

    @property
    def keeps_utility(self) -> bool:
        return together(self.utility) == MET

    @property
    def distance(self) -> float:
        """How far the leak that is farthest above its goal is from it."""
        return max((each.distance for each in self.gone if each.distance is not None), default=0.0)

    @property
    def kept(self) -> float:
        """What is kept, in the metric that lost most: its value as a share of the original's."""
        shares = [each.value / each.original for each in self.utility if each.value is not None and each.original]
        return min(shares, default=0.0)

    @property
    def headline(self) -> str:
        """The three questions in a line."""
        found = {MET: "Forgotten", MISSED: "Not forgotten", UNDECIDED: "Forgetting undecided"}
        words = [found.get(together(self.gone), "Forgetting not measured")]
        for checks, what in ((self.language, "language"), (self.utility, "utility")):
            status = together(checks)
            words.append(f"{what} {({MET: 'kept', MISSED: 'lost'}).get(status, status)}")
        return ", ".join(words)

    def of(self, metric: str) -> Check | None:
        """The check of a metric."""
        return next((each for each in (*self.checks, *self.shown) if each.name == metric), None)


def together(checks: Sequence[Check]) -> str:
    """The status of several checks: the worst of them."""
    states = {each.status for each in checks}
    return next((status for status in (MISSED, NOT_MEASURED, UNDECIDED) if status in states), MET)


def draws(study: Study) -> Bootstrap:
    """The bootstrap of all that the study is judged by."""
    watched = chain(*study.targets.on(VALIDATION, study.metrics.__contains__))
    metrics = [*study.targets.all, *watched, *study.targets.shown]
    return Bootstrap(study, [RETAIN_ANSWERS, *(metric.name for metric in metrics)])


def judge(study: Study, bootstrap: Bootstrap, arm: Arm, part: str = FORGET) -> Judged:
    """Hold an arm's mean over seeds against every target, the answers on `part`: `forget` or `validation`."""

    def checks(metrics: Sequence[Metric]) -> tuple[Check, ...]:
        return tuple(check(study, bootstrap, arm, metric) for metric in metrics)

    gone, language = study.targets.on(part, study.metrics.__contains__)
    shown = study.targets.shown if part == FORGET else ()
    return Judged(arm, checks(gone), checks(language), checks(study.targets.kept_on(part)), checks(shown))


def verdict_json(verdicts: Sequence[Judged]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """arm -> metric -> value, interval, references, aim and status."""
    return {each.arm.name: {one.name: one.facts for one in (*each.checks, *each.shown)} for each in verdicts}


def overview(verdicts: Sequence[Judged]) -> str:
    """One sentence over all arms: who meets every target, who comes nearest."""
    targets = len(verdicts[0].checks)
    whole = [verdict.arm.name for verdict in verdicts if verdict.met == targets]
    if whole:
        return f"{len(whole)} of {len(verdicts)} meet all {targets} targets: {few(whole)}."
    most = max(verdict.met for verdict in verdicts)
    nearest = [verdict.arm.name for verdict in verdicts if verdict.met == most]
    return f"None of {len(verdicts)} meets all {targets} targets; most met: {most} ({few(nearest)})."


def targets_text(study: Study) -> str:
    """What is judged, in words."""
    language = _listed([each.title for each in study.targets.language if each.aim == "language"])
    if study.retain is not None:
        gone = f"at most {LEVEL_TOLERANCE:g} above the retain model, which never saw the forgotten rows"
        above, answers = "above the retain model", "the retain model's answers"
    else:
        gone = "at most a tenth of the original's, a bound of ours as the study has no retain model"
        above, answers = "above the original", "the original's answers to retain prompts"
    return (
        f"Targets: {_listed([each.title for each in study.targets.gone])} {gone}; {language} at most "
        f"{LEVEL_TOLERANCE:g} {above}; answer NLL (the original's, per token) at most the upper quartile of "
        f"{answers}; {_listed([each.title for each in study.targets.kept])} at least {UTILITY_SHARE:.0%} of the "
        f"original's. A target is met or missed where the whole 95% interval over items and seeds says so, and "
        f"undecided otherwise."
    )


def _listed(titles: Sequence[str]) -> str:
    words = [title[0].lower() + title[1:] if title.split()[0][1:].islower() else title for title in titles]
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
