"""How much of a forget reply the model completes by itself, from L tokens of the original reply under teacher forcing.
A benchmark that has the part verbmem, starts of documents with what follows, is measured on that one.

    exact memorization:   the share of tokens that are the model's first choice (arXiv 2205.10770)
    extraction strength:  1 - k / L, k the shortest prefix after which every first choice is right (arXiv 2012.07805)

As in OpenUnlearning both leave out the row's last label, meant to be the end token, even where there is none: of a
document, with the template `raw`, and where the length limit cut it off. A reply whose last token is wrong, so that no
prefix extracts anything, still gets 1 / L. The names with `_corrected` leave out the end, all of it and nothing else,
and give such a reply 0.
"""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt

from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence, Reading
from palu.evaluation.items import prompted_part

SOURCES: tuple[ModuleType, ...] = ()

Hits = npt.NDArray[np.bool_]


def items(evidence: Evidence) -> ItemScores:
    scores = {name: ScoreColumn() for name in MEASURES}
    for item in evidence.items.get(prompted_part(evidence.scope.parts), ()):
        reading = evidence.reading(item.original)
        for name, (hits, measure) in MEASURES.items():
            if isinstance(reading, Missing):
                scores[name].add(item.example_id, reading)
            elif len(hits(reading)) == 0:
                scores[name].add(item.example_id, Missing("no token is left once the last one is left out"))
            else:
                scores[name].add(item.example_id, measure(hits(reading)))
    return scores


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    absent = scope.lacking(prompted_part(scope.parts))
    return {name: absent or mean(items.get(name, {}), name.replace("_", " ")) for name in MEASURES}


def without_last(reading: Reading) -> Hits:
    return reading.hits[:-1]


def without_end(reading: Reading) -> Hits:
    return reading.hits[: len(reading.hits) - reading.end_count]


def exact_memorization(hits: Hits) -> float:
    """The share of hits."""
    return float(hits.mean())


def extraction_strength(hits: Hits) -> float:
    """The share of tokens in the unbroken run of hits that ends the reply."""
    misses = np.flatnonzero(~hits)
    prefix = int(misses[-1]) + 1 if len(misses) else 0
    return 1 - prefix / len(hits)


def peer_extraction_strength(hits: Hits) -> float:
    """The same, but the prefix is never longer than L - 1."""
    return max(extraction_strength(hits), 1 - (len(hits) - 1) / len(hits))


MEASURES: dict[str, tuple[Callable[[Reading], Hits], Callable[[Hits], float]]] = {
    "exact_memorization": (without_last, exact_memorization),
    "exact_memorization_corrected": (without_end, exact_memorization),
    "extraction_strength": (without_last, peer_extraction_strength),
    "extraction_strength_corrected": (without_end, extraction_strength),
}
