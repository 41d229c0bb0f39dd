"""How much the model prefers the truth to lies: the truth ratio of TOFU (arXiv 2401.06121, section 2.2.2).

    s = exp(-mean over wrong replies of their loss) / (exp(-loss of the right reply) + 1e-10)

The right reply is the paraphrase; real authors and world facts have none, there it is the original. An item's value
is s. The aggregates, as in OpenUnlearning:

    forget: mean of min(s, 1 / (s + 1e-10))     1 = truth and lies are alike, which is what forgetting should reach
    others: mean of max(0, 1 - s)               1 = the truth is certain
"""

import math
from collections.abc import Sequence
from types import ModuleType

from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import Item, measured_parts
from palu.tables import FORGET_PARTS

SOURCES: tuple[ModuleType, ...] = ()

# The peer's guard against a division by zero
EPSILON = 1e-10


def items(evidence: Evidence) -> ItemScores:
    return {
        f"{part}_truth_ratio": ScoreColumn(
            (item.example_id, truth_ratio(evidence, item)) for item in evidence.items.get(part, ())
        )
        for part in measured_parts(evidence.scope.kinds)
    }


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    result = {}
    for part in measured_parts(scope.kinds):
        reduce = closeness if part in FORGET_PARTS else certainty
        scores = items.get(f"{part}_truth_ratio", {})
        values = ScoreColumn(
            (key, score if isinstance(score, Missing) else reduce(score)) for key, score in scores.items()
        )
        result[f"{part}_truth_ratio"] = scope.lacking(part, "perturbed") or mean(values, f"{part} truth ratio")
    return result


def truth_ratio(evidence: Evidence, item: Item) -> Value:
    """s of the item; Missing where any of its losses is."""
    losses = []
    for row in (item.restatement, *item.perturbed):
        loss = evidence.loss(row)
        if isinstance(loss, Missing):
            return Missing(f"{row['example_id']}: {loss.reason}")
        losses.append(loss)
    if len(losses) < 2:
        return Missing("it has no wrong replies")
    right, *wrong = losses
    return ratio(right, wrong)


def ratio(right_loss: float, wrong_losses: Sequence[float]) -> float:
    """s from the losses of one item's right and wrong replies."""
    return math.exp(-math.fsum(wrong_losses) / len(wrong_losses)) / (math.exp(-right_loss) + EPSILON)


def closeness(score: float) -> float:
    """min(s, 1/s), in 0..1: both a preference for the truth and one for lies lower it."""
    return min(score, 1 / (score + EPSILON))


def certainty(score: float) -> float:
    """max(0, 1 - s), in 0..1."""
    return max(0.0, 1 - score)
