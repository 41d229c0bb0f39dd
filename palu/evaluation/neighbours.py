"""Whether the model still answers what it should have kept: questions next to the forgotten subject, and far from it.

    near_accuracy  the share of the part's questions that the greedy answer gets right
    far_accuracy   the same for the part far

An answer is right where it contains every gold span of the true reply, in the words that `palu.evaluation.span_leak`
compares: case and punctuation aside. A span that the question has too counts like any other. A question without a
gold span that has a word, and one that was not asked, leaves the metric without a number.

No method is trained on these parts, and of their replies no probability is computed.
"""

from types import ModuleType

from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import Item
from palu.evaluation.span_leak import span_words
from palu.evaluation.words import contains, words_of
from palu.tables import NEIGHBOUR_PARTS

SOURCES: tuple[ModuleType, ...] = ()


def items(evidence: Evidence) -> ItemScores:
    return {
        f"{part}_accuracy": ScoreColumn((item.example_id, _is_right(evidence, item)) for item in own)
        for part in NEIGHBOUR_PARTS
        if (own := evidence.items.get(part))
    }


def _is_right(evidence: Evidence, item: Item) -> Value:
    if evidence.gold is None:
        return Missing("the benchmark's own spans were not given")
    wanted = span_words(item, evidence.gold)
    if not wanted:
        return Missing(f"{item.example_id} has no gold span with a word")
    answer = evidence.generations.get(item.example_id)
    if answer is None:
        return Missing(f"{item.example_id} was not asked")
    said = words_of(answer)
    return float(all(contains(said, words) for words in wanted))


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    return {
        metric: mean(items.get(metric, {}), "accuracy")
        for part in NEIGHBOUR_PARTS
        if part in scope.parts
        for metric in (f"{part}_accuracy",)
    }
