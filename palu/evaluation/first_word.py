"""How probable the model finds the first token of what it should have forgotten.

`first_word_probability`, after the true words before it: the geometric mean, over the runs of sensitive tokens of a
forget reply, of the probability of the first token of the word that begins the run; then over replies.

    p_reply = exp(mean over runs of log p(first token of the run's first word))      metric = exp(mean log p_reply)

Later tokens of a word mostly spell it out: whoever is given its first piece can complete it. The word that begins a
run is the one with the run's first sensitive letter or digit, and its first token is the one with the word's first
character. So where a span begins inside a word, or a token covers more than the span, the token is the one that
begins the word, be it before the span; a quotation mark or a bracket at the start of a run is passed over. A run
without any letter or digit counts with its first token. A word that begins two runs counts once. A word whose first
token is not predicted (a document's very first) does not count, and a reply without a run does not enter.

Spans are those of the evaluation (`palu score --spans`).
"""

import math
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import NO_SPANS, Evidence, Reading
from palu.evaluation.words import WORD
from palu.spans import Span, run_offsets, sensitive_tokens

SOURCES: tuple[ModuleType, ...] = ()

NAME = "first_word_probability"


def items(evidence: Evidence) -> ItemScores:
    if evidence.spans is None:
        return {}
    scores = ScoreColumn()
    for item in evidence.items.get("forget", ()):
        found = evidence.reading(item.original)
        if isinstance(found, Missing):
            scores.add(item.example_id, found)
            continue
        chosen = first_word_tokens(found, item.original["reply"], evidence.spans.get(item.example_id, ()))
        if chosen:
            scores.add(item.example_id, math.exp(found.log_probs[chosen].mean()))
    return {NAME: scores}


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    if NAME not in items:
        return {NAME: scope.lacking("forget") or NO_SPANS}
    nothing = None if items[NAME] else Missing("no span covers a token of a forget reply")
    return {NAME: scope.lacking("forget") or nothing or geometric_mean(items[NAME])}


def geometric_mean(values: Mapping[str, Value]) -> Value:
    """exp of the mean logarithm of numbers from 0 up; Missing where any is missing or not finite."""
    average = mean(values, "first-word probability")
    if isinstance(average, Missing):
        return average
    numbers = [value for value in values.values() if not isinstance(value, Missing)]
    return math.exp(math.fsum(map(math.log, numbers)) / len(numbers)) if min(numbers) > 0 else 0.0


def first_word_tokens(reading: Reading, reply: str, spans: Sequence[Span]) -> list[int]:
    """Indices, among the P predicted tokens, of the first token of the word that begins each run, in order."""
    starts, ends = reading.char_starts, reading.char_ends
    sensitive, _ = sensitive_tokens(reply, starts, ends, spans)
    in_span, word_start = np.zeros(len(reply), dtype=bool), np.full(len(reply), -1)
    for start, end in spans:
        in_span[start:end] = True
    for word in WORD.finditer(reply):
        word_start[word.start() : word.end()] = word.start()
    after = np.flatnonzero(np.diff(sensitive, append=False) & sensitive)
    chosen: dict[int, None] = {}
    for first, last in zip(np.flatnonzero(run_offsets(sensitive) == 0).tolist(), after.tolist(), strict=True):
        run = np.arange(starts[first], ends[last])
        letters = run[in_span[run] & (word_start[run] >= 0)]
        found = [first]
        if len(letters):
            begins = word_start[letters[0]]
            found = np.flatnonzero((starts <= begins) & (begins < ends))[:1].tolist()
        chosen |= dict.fromkeys(found)
    return list(chosen)
