"""Whether the forget rows still look like training data: membership inference against rows that no model has seen.

Every attack gives each original reply of the parts forget and holdout a score that is low for what a model was
trained on; where a benchmark has texts of its own for this, as MUSE does, of privleak_forget and privleak_holdout. The
metric is the area under the ROC curve with holdout as the positive class: 1, every forget row looks
more like a member than any held-out one; 0.5, nobody can tell. As in OpenUnlearning:

    loss         mean negative log-likelihood of the reply and its end (arXiv 1709.01604)
    zlib         loss / length in bytes of the reply compressed by zlib (arXiv 2012.07805)
    min_k        mean negative log-likelihood of the least likely 40% of the tokens (arXiv 2310.16789)
    min_k_plus_plus  the same of (log p - mean) / deviation, under the model's own distribution (arXiv 2404.02936)
    reference    loss minus the loss of another model (arXiv 2012.07805)
    gradnorm     norm of the loss's gradient (arXiv 2402.17012; `palu.evaluation.gradnorm`)

min_k, min_k_plus_plus and gradnorm leave out the row's last label, meant to be the end token, even where there is
none: of a document, with the template `raw`, and where the length limit cut it off. The names with `_corrected` leave
out the end, all of it and nothing else.

    privleak = 100 (s - r) / (r + 1e-10)    s, r = 1 - AUC of min_k of the model and of the retain model

(arXiv 2407.06460): below 0 the forget rows are known better than by the retain model, above 0 suspiciously worse.
"""

import zlib
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
import numpy.typing as npt

from palu.evaluation.base import NO_RETAIN, ItemScores, Missing, Scope, Value, mean, other_items
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence, Reading
from palu.evaluation.items import SIDES, Item, attacked_parts

SOURCES: tuple[ModuleType, ...] = ()

ATTACKS = (
    "loss",
    "zlib",
    "min_k",
    "min_k_corrected",
    "min_k_plus_plus",
    "min_k_plus_plus_corrected",
    "reference",
    "gradnorm",
)
# Which share of a row's tokens Min-K reads
SHARE = 0.4
# The peer's smallest variance, under which a certain model's z-scores would be noise
VARIANCE_FLOOR = 1e-6
# The peer's guard against a division by zero
EPSILON = 1e-10

Floats = npt.NDArray[np.float64]


def items(evidence: Evidence) -> ItemScores:
    scores = {}
    for side, part in attacked_parts(evidence.scope.parts).items():
        for attack in ATTACKS:
            scores[item_metric(attack, side)] = ScoreColumn(
                (item.example_id, SCORES[attack](evidence, item)) for item in evidence.items.get(part, ())
            )
    return scores


def item_metric(attack: str, side: str) -> str:
    """The name of an attack's score of the single rows of one side, forget or holdout."""
    return f"{side}_mia_{attack}"


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    areas = {f"mia_{attack}": area(items, attack, scope) for attack in ATTACKS}
    return areas | {"privleak": privleak(areas["mia_min_k"], items, scope)}


def area(items: ItemScores, attack: str, scope: Scope | None = None) -> Value:
    """The area under the ROC curve of an attack; Missing where any row's score is missing or not finite."""
    for part in attacked_parts(scope.parts).values() if scope else ():
        if scope and (absent := scope.lacking(part)):
            return absent
    samples: list[list[float]] = []
    for side in SIDES:
        values = items.get(item_metric(attack, side), {})
        average = mean(values, f"{side} {attack} score")
        if isinstance(average, Missing):
            return average
        samples.append([value for value in values.values() if not isinstance(value, Missing)])
    return roc_area(*samples)


def roc_area(negatives: Sequence[float], positives: Sequence[float]) -> float:
    """The probability that a positive scores above a negative, ties counted as halves; neither may be empty."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(below.sum() / 2 / (len(positives) * len(negatives)))


def privleak(found: Value, items: ItemScores, scope: Scope) -> Value:
    """Percent by which 1 - AUC of Min-K is above the retain model's."""
    if isinstance(found, Missing):
        return found
    level = retain_area(items, "min_k", scope)
    if isinstance(level, Missing):
        return level
    own, retain = 1 - found, 1 - level
    return 100 * (own - retain) / (retain + EPSILON)


def retain_area(items: ItemScores, attack: str, scope: Scope) -> Value:
    """The retain model's AUC of an attack on the same rows; Min-K's may be stated outright (`retain_auc`)."""
    if attack == "min_k" and scope.retain_auc is not None:
        return scope.retain_auc
    if isinstance(scope.retain, Missing):
        could_be_stated = attack == "min_k" and scope.retain == NO_RETAIN
        return Missing(f"{NO_RETAIN.reason}, nor its AUC (retain_auc)") if could_be_stated else scope.retain
    level = area(scope.retain, attack)
    if isinstance(level, Missing):
        return Missing(f"retain model: {level.reason}")
    for side in SIDES:
        name = item_metric(attack, side)
        if different := other_items(items.get(name, {}), scope.retain[name], f"{side} {attack}"):
            return different
    return level


def least_likely(scores: Floats) -> Value:
    """The mean of the lowest 40% of the scores, one at least, negated."""
    if not len(scores):
        return Missing("no token is left once the last one is left out")
    count = max(1, int(SHARE * len(scores)))
    return float(-np.partition(scores, count - 1)[:count].mean())


def _loss(evidence: Evidence, item: Item) -> Value:
    return evidence.loss(item.original)


def _zlib(evidence: Evidence, item: Item) -> Value:
    loss = evidence.loss(item.original)
    return loss if isinstance(loss, Missing) else loss / len(zlib.compress(item.original["reply"].encode()))


def _reference(evidence: Evidence, item: Item) -> Value:
    loss = evidence.loss(item.original)
    other = evidence.reference_loss(item.example_id)
    if isinstance(loss, Missing) or isinstance(other, Missing):
        return loss if isinstance(loss, Missing) else other
    return loss - other


def _gradnorm(evidence: Evidence, item: Item) -> Value:
    return evidence.gradient_norm(item.example_id)


def _min_k(kept: Callable[[Reading], slice]) -> Callable[[Evidence, Item], Value]:
    def score(evidence: Evidence, item: Item) -> Value:
        found = evidence.reading(item.original)
        return found if isinstance(found, Missing) else least_likely(found.log_probs[kept(found)])

    return score


def _min_k_plus_plus(kept: Callable[[Reading], slice]) -> Callable[[Evidence, Item], Value]:
    def score(evidence: Evidence, item: Item) -> Value:
        found = evidence.reading(item.original)
        if isinstance(found, Missing):
            return found
        if found.expected is None or found.variance is None:
            return Missing(f"the moments of {item.example_id} were not computed")
        deviation = np.sqrt(np.maximum(found.variance, VARIANCE_FLOOR))
        return least_likely(((found.log_probs - found.expected) / deviation)[kept(found)])

    return score


def _all_but_last(_reading: Reading) -> slice:
    return slice(None, -1)


def _all_but_end(reading: Reading) -> slice:
    return slice(len(reading.log_probs) - reading.end_count)


SCORES: dict[str, Callable[[Evidence, Item], Value]] = {
    "loss": _loss,
    "zlib": _zlib,
    "min_k": _min_k(_all_but_last),
    "min_k_corrected": _min_k(_all_but_end),
    "min_k_plus_plus": _min_k_plus_plus(_all_but_last),
    "min_k_plus_plus_corrected": _min_k_plus_plus(_all_but_end),
    "reference": _reference,
    "gradnorm": _gradnorm,
}
