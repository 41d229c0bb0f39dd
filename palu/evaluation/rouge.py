"""How much of the reply's text a free greedy generation reproduces: ROUGE-L recall (Lin 2004).

    recall = length of the longest common subsequence of the words / words of the true reply

Words are those of the `rouge-score` package with its Porter stemmer (lower case, letters and digits only, words of
more than three characters stemmed), as in TOFU and OpenUnlearning. The naive program is its
`RougeScorer(["rouge1", "rougeL"], use_stemmer=True)`; here every word is stemmed once and the subsequence is found
with bit operations, 20 times faster.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from palu.evaluation.base import DOCUMENT, ItemScores, Missing, Scope, Value, answers, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import Example, measured_parts

SOURCES: tuple[ModuleType, ...] = ()

QUESTION = "forget_paraphrased_question_rouge"


class Overlap(NamedTuple):
    """ROUGE of a generation against a reply, each in 0..1."""

    rouge1_recall: float
    rougeL_f1: float
    rougeL_recall: float


def items(evidence: Evidence) -> ItemScores:
    scores = {name: ScoreColumn() for name in (*Overlap._fields, QUESTION)}
    for part in measured_parts(evidence.scope.kinds):
        scores[f"{part}_rouge"] = ScoreColumn()
        for item in evidence.items.get(part, ()):
            found = compare(evidence, item.original, item.original)
            scores[f"{part}_rouge"].add(item.example_id, recall(found))
            _add(scores, item.original, found)
    for item in evidence.items.get("forget", ()):
        if item.question is not None and item.question["example_id"] in evidence.generations:
            scores[QUESTION].add(item.example_id, recall(compare(evidence, item.question, item.original)))
        if item.paraphrase is not None:
            # In no aggregate, but in the peer's log: the same generation against the reply said otherwise
            _add(scores, item.paraphrase, compare(evidence, item.original, item.paraphrase))
    return scores


def _add(scores: dict[str, ScoreColumn], row: Example, found: Overlap | Missing) -> None:
    if not isinstance(found, Missing):
        for name, value in found._asdict().items():
            scores[name].add(row["example_id"], value)


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    result = {
        f"{part}_rouge": scope.lacking(part) or mean(answers(items.get(f"{part}_rouge", {})), f"{part} ROUGE")
        for part in measured_parts(scope.kinds)
    }
    if items.get(QUESTION):
        result[QUESTION] = mean(items[QUESTION], "forget ROUGE")
    return result


def recall(found: Overlap | Missing) -> Value:
    """The ROUGE-L recall that the metrics average."""
    return found if isinstance(found, Missing) else found.rougeL_recall


def compare(evidence: Evidence, asked: Example, true: Example) -> Overlap | Missing:
    """What the model answered to the prompt of `asked`, against the reply of `true`."""
    found = answer(evidence, asked)
    return found if isinstance(found, Missing) else overlap(found, true["reply"])


def answer(evidence: Evidence, asked: Example) -> str | Missing:
    """What the model wrote to the prompt of `asked`."""
    if not asked["prompt"]:
        return DOCUMENT
    generation = evidence.generations.get(asked["example_id"])
    if generation is None:
        return Missing(f"{asked['example_id']} was not asked")
    # A model whose logits are not finite repeats one word for ever: no text to judge
    reading = evidence.readings.get(asked["example_id"])
    return Missing(reading.fault) if reading is not None and reading.fault else generation


def f1(answer: str | Missing, true: str | Missing, cut: Callable[[str], list[str]]) -> Value:
    """ROUGE-L F1 of two texts whose words are told by `cut`; Missing where either text is."""
    for text in (answer, true):
        if isinstance(text, Missing):
            return text
    return overlap(str(answer), str(true), cut).rougeL_f1


def words(text: str) -> list[str]:
    """The stemmed words of `text`, as `rouge-score` cuts them."""
    from rouge_score import tokenize

    return list(tokenize.tokenize(text, _Stemmer))


def plain_words(text: str) -> list[str]:
    """The words of `text`, as `rouge-score` cuts them without its stemmer."""
    from rouge_score import tokenize

    return list(tokenize.tokenize(text, None))


class _Stemmer:
    """nltk's Porter stemmer, which spends 20 µs on a word, asked once for each word."""

    @staticmethod
    @cache
    def stem(word: str) -> str:
        return str(stemmer().stem(word))


@cache
def stemmer() -> Any:
    """The Porter stemmer; the first call imports nltk, which takes a second or two."""
    from rouge_score.tokenizers import porter

    return porter.PorterStemmer()


def overlap(generation: str, reply: str, cut: Callable[[str], list[str]] = words) -> Overlap:
    """ROUGE of `generation` against `reply`; 0 where either has no words. cut: tells the words."""
    found, true = (cut(text) for text in (generation, reply))
    if not found or not true:
        return Overlap(0.0, 0.0, 0.0)
    shared = sum((Counter(found) & Counter(true)).values())
    common = common_subsequence_length(true, found)
    share, precision = common / len(true), common / len(found)
    f1 = 2 * precision * share / (precision + share) if common else 0.0
    return Overlap(rouge1_recall=shared / len(true), rougeL_f1=f1, rougeL_recall=share)


def common_subsequence_length(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence.

    Row by row of the usual table, a row held as an integer whose 0 bits are the columns where the length grows
    (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
    """
    columns: dict[str, int] = {}
    for i, word in enumerate(first):
        columns[word] = columns.get(word, 0) | 1 << i
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        matches = row & columns.get(word, 0)
        row = (row + matches | row - matches) & every
    return len(first) - row.bit_count()
