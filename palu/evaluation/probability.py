"""How probable the model finds a reply.

Probability of a reply: exp(-loss), loss = mean negative log-likelihood per token over the reply and its end
(TOFU, arXiv 2401.06121, section 2.2.2). For real authors and world facts the metric is the probability among the
options: p / (p + sum of the wrong replies' p + 1e-10), the peer's `*_Q_A_Prob_normalised`, which its model utility
reads; the plain one is exp(-loss) of the row's own `loss`.

Ours: `forget_initiating_probability`, the mean over forget replies of the mean probability of their initiating
tokens, the first `first_n` of every run of sensitive tokens. A reply without a sensitive token does not enter.
"""

import math
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
import numpy.typing as npt

from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence, Reading
from palu.evaluation.items import Item, measured_parts
from palu.spans import Span, first_of_runs, run_offsets, sensitive_tokens
from palu.tables import FORGET_PARTS

SOURCES: tuple[ModuleType, ...] = ()

OPTION_PARTS = ("real_authors", "world_facts")
# The peer's guard against a division by zero
EPSILON = 1e-10


def items(evidence: Evidence) -> ItemScores:
    scores = {"loss": ScoreColumn()}
    for part_items in evidence.items.values():
        for item in part_items:
            for row in (item.original, item.paraphrase, *item.perturbed, item.question):
                if row is not None and row["example_id"] in evidence.readings:
                    scores["loss"].add(row["example_id"], evidence.loss(row))
    for part in measured_parts(evidence.scope.kinds):
        of_item = option_probability if part in OPTION_PARTS else reply_probability
        scores[f"{part}_probability"] = ScoreColumn(
            (item.example_id, of_item(evidence, item)) for item in evidence.items.get(part, ())
        )
    scores["forget_paraphrased_question_probability"] = ScoreColumn(
        (item.example_id, probability(evidence.loss(item.question)))
        for item in evidence.items.get("forget", ())
        if item.question is not None and item.question["example_id"] in evidence.readings
    )
    if evidence.spans is not None:
        for part in FORGET_PARTS:
            scores[f"{part}_initiating_probability"] = _initiating(evidence, evidence.spans, part)
    return scores


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    result = {}
    for part in measured_parts(scope.kinds):
        needed = ("perturbed",) if part in OPTION_PARTS else ()
        values = items.get(f"{part}_probability", {})
        result[f"{part}_probability"] = scope.lacking(part, *needed) or mean(values, f"{part} probability")
    if items.get("forget_paraphrased_question_probability"):
        name = "forget_paraphrased_question_probability"
        result[name] = mean(items[name], "forget probability")
    for part in FORGET_PARTS:
        name = f"{part}_initiating_probability"
        if name in items and (part, "original") in scope.kinds:
            nothing = None if items[name] else Missing(f"no span covers a token of a {part} reply")
            result[name] = nothing or mean(items[name], "initiating probability")
    return result


def probability(loss: Value) -> Value:
    """exp(-loss): the geometric mean of the tokens' probabilities."""
    return loss if isinstance(loss, Missing) else math.exp(-loss)


def reply_probability(evidence: Evidence, item: Item) -> Value:
    """The probability of the original reply."""
    return probability(evidence.loss(item.original))


def option_probability(evidence: Evidence, item: Item) -> Value:
    """The original reply's share of the probability of all options."""
    options = []
    for row in (item.original, *item.perturbed):
        value = probability(evidence.loss(row))
        if isinstance(value, Missing):
            return Missing(f"{row['example_id']}: {value.reason}")
        options.append(value)
    if len(options) < 2:
        return Missing("it has no wrong replies")
    return options[0] / (options[0] + math.fsum(options[1:]) + EPSILON)


def _initiating(evidence: Evidence, spans: Mapping[str, Sequence[Span]], part: str) -> ScoreColumn:
    scores = ScoreColumn()
    for item in evidence.items.get(part, ()):
        found = evidence.reading(item.original)
        if isinstance(found, Missing):
            scores.add(item.example_id, found)
            continue
        chosen = initiating_tokens(found, item.original["reply"], spans.get(item.example_id, ()), evidence.first_n)
        if chosen.any():
            scores.add(item.example_id, float(np.exp(found.log_probs[chosen]).mean()))
    return scores


def initiating_tokens(
    reading: Reading, reply: str, spans: Sequence[Span], first_n: int | None
) -> npt.NDArray[np.bool_]:
    """(P,) bool: the first `first_n` tokens (none = all) of every run of sensitive tokens."""
    sensitive, _ = sensitive_tokens(reply, reading.char_starts, reading.char_ends, spans)
    return first_of_runs(run_offsets(sensitive), first_n)
