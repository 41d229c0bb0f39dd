"""The values that metrics are made of: numbers, or the reasons why there are none. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Missing:
    """Why a number cannot be had. `absent`: the benchmark does not have what the number is about."""

    reason: str
    absent: bool = False


Value = float | Missing

# Where the scores of another model that a metric compares with were not given
NO_RETAIN = Missing("no scores of a retain model were given")
NO_ORIGINAL = Missing("no scores of the original model were given")
# Why a row without a prompt has no answer. Such a row is left out of means over answers, unless all are so.
DOCUMENT = Missing("a document has no prompt to answer")
# Why an answer without a token has no value of its tokens. It is left out of such means in the same way.
EMPTY = Missing("the answer is empty")

# metric -> example_id -> value. A metric of an item stands at the item's original reply. Beside the names of
# summary.json there are facts of single rows, which other metrics and the peer's layout need: `loss` (mean negative
# log-likelihood of the reply and its end), `rouge1_recall`, `rougeL_f1`, `rougeL_recall` (the generation
# against this row's reply).
ItemScores = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True)
class Scope:
    """What the metrics of one model read besides its items.

    kinds: the (part, reply kind) pairs that the benchmark has.
    retain: the item scores of the retain model, which never saw the forget set, or why there are none.
    retain_auc: the retain model's Min-K AUC, where it was stated outright; it goes before that of `retain`.
    original: the item scores of the model before unlearning, or why there are none.
    partial: whether pairs outside `kinds` are merely not in the file that was read, though the benchmark has them.
    """

    benchmark: str
    kinds: frozenset[tuple[str, str]]
    retain: ItemScores | Missing = NO_RETAIN
    retain_auc: float | None = None
    partial: bool = False
    original: ItemScores | Missing = NO_ORIGINAL

    @property
    def parts(self) -> frozenset[str]:
        """The benchmark's parts."""
        return frozenset(part for part, kind in self.kinds if kind == "original")

    def lacking(self, part: str, *reply_kinds: str) -> Missing | None:
        """Why a metric over `reply_kinds` of `part` cannot be had at all, if so."""
        if self.partial:
            return None
        if (part, "original") not in self.kinds:
            return Missing(f"benchmark {self.benchmark} has no part {part}", absent=True)
        for kind in reply_kinds:
            if (part, kind) not in self.kinds:
                return Missing(f"benchmark {self.benchmark} has no {kind} replies in part {part}", absent=True)
        return None


def row_value(row: Mapping[str, Any]) -> Value:
    """What a row of a scores table holds."""
    return row["value"] if row["reason"] is None else Missing(row["reason"])


def other_items(
    own: Mapping[str, Value], other: Mapping[str, Value], what: str, whose: str = "retain model"
) -> Missing | None:
    """Why the scores of two models cannot be compared: they are of different items. None where they can."""
    if own.keys() == other.keys():
        return None
    return Missing(f"the {len(own)} {what} items are not those of the {whose}'s {len(other)}")


def mean(values: Mapping[str, Value], what: str) -> Value:
    """The mean of `values`, in float64; Missing where there are none, or where any is missing or not finite."""
    if not values:
        return Missing(f"no item has a value of {what}")
    reasons = [(key, reason) for key, value in values.items() if (reason := unusable(value))]
    if reasons:
        key, reason = reasons[0]
        if 1 < len(reasons) == len(values) and len({reason for _key, reason in reasons}) == 1:
            return Missing(reason)
        return Missing(f"{len(reasons)} of {len(values)} {what} values cannot be had; the first: {key}: {reason}")
    numbers = [value for value in values.values() if not isinstance(value, Missing)]
    return math.fsum(numbers) / len(numbers)


def answers(values: Mapping[str, Value]) -> Mapping[str, Value]:
    """`values` without those of documents and empty answers; all of them where every row is one."""
    if DOCUMENT not in values.values() and EMPTY not in values.values():
        return values
    return {key: value for key, value in values.items() if value not in (DOCUMENT, EMPTY)} or values


def unusable(value: Value) -> str | None:
    """Why `value` cannot enter an aggregate; None where it can."""
    if isinstance(value, Missing):
        return value.reason
    return None if math.isfinite(value) else f"the value is {value}"
