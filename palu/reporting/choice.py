"""The setting that a grid recommends for each method, by a rule that is the same for all of them.

Among the settings that keep the utility target, those that meet the most targets; among them the one whose farthest
level (initiating-token probability, forget ROUGE) is nearest to the retain model's. Where no setting keeps utility,
the one with the highest. A choice is for another study: numbers that chose a setting say little about it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from palu.reporting.verdict import Verdict

RULE = (
    "Among the settings that keep the utility target, those that meet the most targets; among them the one whose "
    "farthest level is nearest to the retain model's. Where none keeps utility, the one with the highest."
)


@dataclass(frozen=True)
class Choice:
    """A method's recommended setting. distance: of its farthest level from the retain model's."""

    method: str
    arm: str
    distance: float
    keeps_utility: bool
    tried: int


def choose(verdicts: Iterable[Verdict]) -> list[Choice]:
    """One choice for each method of a grid, in the order of the study; a setting that cannot be judged is passed
    over."""
    by_method: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_method.setdefault(verdict.arm.method, []).append(verdict)
    choices = []
    for method, own in by_method.items():
        judged = [verdict for verdict in own if verdict.status != "unknown"]
        if judged and any(verdict.arm.varied for verdict in own):
            best = min(judged, key=_rank)
            choices.append(Choice(method, best.arm.name, _distance(best), _keeps_utility(best), len(own)))
    return choices


def _rank(verdict: Verdict) -> tuple[bool, int, float]:
    if _keeps_utility(verdict):
        return False, -verdict.met, _distance(verdict)
    return True, 0, -(verdict.checks[-1].value or 0.0)


def _distance(verdict: Verdict) -> float:
    return max(abs(check.distance.difference) for check in verdict.checks if check.distance is not None)


def _keeps_utility(verdict: Verdict) -> bool:
    return verdict.checks[-1].status == "met"
