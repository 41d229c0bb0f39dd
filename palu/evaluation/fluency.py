"""Whether what the model writes to the forget prompts is still language.

`fluency` is the probability that a classifier gives to clean text, as in OpenUnlearning: the judge is a second model,
which may be out of reach. It reads the first 32 tokens of an answer, and 512 of what continues a document (MUSE), as
OpenUnlearning's configs do (`evaluation.fluency.max_length`). Three measures need none, of the generation's words
(`palu.evaluation.words`):

    forget_ngram_entropy  (2/3) H(2-grams) + (4/3) H(3-grams), in bits, the "generation entropy" of arXiv 2202.05262:
                          low where the same words come again and again; long texts have more of it
    repetition            1 - distinct / all 4-grams, "seq-rep-4" of arXiv 1908.04319: 0, nothing is said twice
    empty_answers         the share of generations without a word

A generation with fewer than 3 (4) words has no entropy (repetition), and stays out of that mean.
"""

import math
from collections import Counter
from collections.abc import Mapping
from types import ModuleType

from palu.evaluation.base import DOCUMENT, ItemScores, Missing, Scope, Value, answers, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import prompted_part
from palu.evaluation.words import words_of

SOURCES: tuple[ModuleType, ...] = ()

# Weights of the entropies of 2-grams and 3-grams
ENTROPY_WEIGHTS = {2: 2 / 3, 3: 4 / 3}
REPEATED = 4


def items(evidence: Evidence) -> ItemScores:
    names = ("fluency", "forget_ngram_entropy", "repetition", "empty_answers")
    scores = {name: ScoreColumn() for name in names}
    for item in evidence.items.get(prompted_part(evidence.scope.parts), ()):
        if not item.original["prompt"]:
            for own in scores.values():
                own.add(item.example_id, DOCUMENT)
            continue
        scores["fluency"].add(item.example_id, evidence.fluency(item.example_id))
        text = evidence.generations.get(item.example_id)
        if text is None:
            missing = Missing(f"{item.example_id} was not asked")
            for name in names[1:]:
                scores[name].add(item.example_id, missing)
            continue
        words = words_of(text)
        scores["empty_answers"].add(item.example_id, float(not words))
        if len(words) >= max(ENTROPY_WEIGHTS):
            scores["forget_ngram_entropy"].add(item.example_id, ngram_entropy(words))
        if len(words) >= REPEATED:
            scores["repetition"].add(item.example_id, repetition(words))
    return scores


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    needed = {
        "fluency": "fluency",
        "forget_ngram_entropy": "n-gram entropy (generations of 3 words or more)",
        "repetition": "repetition (generations of 4 words or more)",
        "empty_answers": "emptiness",
    }
    absent = scope.lacking(prompted_part(scope.parts))
    return {name: absent or mean(answers(items.get(name, {})), what) for name, what in needed.items()}


def ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n words occurs."""
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def entropy(counts: Mapping[tuple[str, ...], int]) -> float:
    """Entropy of the relative frequencies, in bits."""
    total = sum(counts.values())
    return -math.fsum(count / total * math.log2(count / total) for count in counts.values())


def ngram_entropy(words: list[str]) -> float:
    """The weighted entropy of 2-grams and 3-grams, in bits; three words at least."""
    return math.fsum(weight * entropy(ngrams(words, n)) for n, weight in ENTROPY_WEIGHTS.items())


def repetition(words: list[str]) -> float:
    """The share of 4-grams that have occurred before, in 0..1; four words at least."""
    counts = ngrams(words, REPEATED)
    return 1 - len(counts) / sum(counts.values())
