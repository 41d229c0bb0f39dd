"""How much the model prefers the truth to lies: the truth ratio of TOFU (arXiv 2401.06121, section 2.2.2).

    s = exp(-mean over wrong replies of their loss) / (exp(-loss of the right reply) + 1e-10)

The right reply is the paraphrase; real authors and world facts have none, there it is the original. An item's value
is s. The aggregates, as in OpenUnlearning:

    forget: mean of min(s, 1 / (s + 1e-10))     1 = truth and lies are alike, which is what forgetting should reach
    others: mean of max(0, 1 - s)               1 = the truth is certain

`forget_truth_ratio_prob_mean` is the extent of knowledge of OpenUnlearning's meta-evaluation (arXiv 2506.12618,
section 4; the aggregator `prob_mean` of its pull request 163), from the same two probabilities:

    mean of p_right / (p_right + p_wrong + 1e-10)    p_right = exp(-loss of the right reply)
                                                     p_wrong = exp(-mean over wrong replies of their loss)

    1 = the truth is certain, 1/2 = truth and lies are alike
"""

import math
from collections.abc import Callable, Sequence
from types import ModuleType

from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import Item, measured_parts
from palu.tables import FORGET_PARTS

SOURCES: tuple[ModuleType, ...] = ()

# The peer's guard against a division by zero
EPSILON = 1e-10
PROB_MEAN = "forget_truth_ratio_prob_mean"


def items(evidence: Evidence) -> ItemScores:
    scores = {
        f"{part}_truth_ratio": ScoreColumn(
            (item.example_id, of_item(evidence, item, ratio)) for item in evidence.items.get(part, ())
        )
        for part in measured_parts(evidence.scope.kinds)
    }
    scores[PROB_MEAN] = ScoreColumn(
        (item.example_id, of_item(evidence, item, truth_share)) for item in evidence.items.get("forget", ())
    )
    return scores


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    result = {}
    for part in measured_parts(scope.kinds):
        reduce = closeness if part in FORGET_PARTS else certainty
        scores = items.get(f"{part}_truth_ratio", {})
        values = ScoreColumn(
            (key, score if isinstance(score, Missing) else reduce(score)) for key, score in scores.items()
        )
        result[f"{part}_truth_ratio"] = scope.lacking(part, "perturbed") or mean(values, f"{part} truth ratio")
    shares = mean(items.get(PROB_MEAN, {}), "forget truth ratio (prob_mean)")
    return result | {PROB_MEAN: scope.lacking("forget", "perturbed") or shares}


def of_item(evidence: Evidence, item: Item, measure: Callable[[float, Sequence[float]], float]) -> Value:
    """`ratio` or `truth_share` of the item; Missing where any of its losses is."""
    losses = []
    for row in (item.restatement, *item.perturbed):
        loss = evidence.loss(row)
        if isinstance(loss, Missing):
            return Missing(f"{row['example_id']}: {loss.reason}")
        losses.append(loss)
    if len(losses) < 2:
        return Missing("it has no wrong replies")
    right, *wrong = losses
    return measure(right, wrong)


def ratio(right_loss: float, wrong_losses: Sequence[float]) -> float:
    """s from the losses of one item's right and wrong replies."""
    return math.exp(-math.fsum(wrong_losses) / len(wrong_losses)) / (math.exp(-right_loss) + EPSILON)


def truth_share(right_loss: float, wrong_losses: Sequence[float]) -> float:
    """p_right / (p_right + p_wrong) from the losses of one item's right and wrong replies, in 0..1."""
    right, wrong = math.exp(-right_loss), math.exp(-math.fsum(wrong_losses) / len(wrong_losses))
    return right / (right + wrong + EPSILON)


def closeness(score: float) -> float:
    """min(s, 1/s), in 0..1: both a preference for the truth and one for lies lower it."""
    return min(score, 1 / (score + EPSILON))


def certainty(score: float) -> float:
    """max(0, 1 - s), in 0..1."""
    return max(0.0, 1 - score)
