"""Whether the model can answer questions about its texts: knowledge memorization (MUSE, arXiv 2407.06460, 3.1).

    mean over the rows of part knowmem_forget (knowmem_retain) of ROUGE-L F1(greedy answer, true answer)

in 0..1, by words without a stemmer, as in the benchmark's code. An answer ends where the model begins a new paragraph
or a new question. The names with `_stemmed` are OpenUnlearning's forget_knowmem_ROUGE and retain_knowmem_ROUGE, which
differ in that words are stemmed.
"""

from types import ModuleType

from palu.evaluation import rouge
from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import KNOWMEM

SOURCES: tuple[ModuleType, ...] = ()

# Where an answer ends, as in the benchmark's code
STOPS = ("\n\n", "\nQuestion", "Question:")


def items(evidence: Evidence) -> ItemScores:
    scores: dict[str, ScoreColumn] = {}
    for side, part in KNOWMEM.items():
        plain, stemmed = names(side)
        scores |= {plain: ScoreColumn(), stemmed: ScoreColumn()}
        for item in evidence.items.get(part, ()):
            found = rouge.answer(evidence, item.original)
            answer = found if isinstance(found, Missing) else own_answer(found)
            true = item.original["reply"]
            scores[plain].add(item.example_id, rouge.f1(answer, true, rouge.plain_words))
            scores[stemmed].add(item.example_id, rouge.f1(answer, true, rouge.words))
    return scores


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    result: dict[str, Value] = {}
    for side, part in KNOWMEM.items():
        if part in scope.parts or any(items.get(name) for name in names(side)):
            result |= {name: mean(items.get(name, {}), name.replace("_", " ")) for name in names(side)}
    return result


def names(side: str) -> tuple[str, str]:
    """The metrics about the texts of one side, forget or retain: plain and stemmed."""
    return f"knowledge_memorization_{side}", f"knowledge_memorization_{side}_stemmed"


def own_answer(generation: str) -> str:
    """What a generation says before it begins a new paragraph or a question of its own."""
    for stop in STOPS:
        generation = generation.split(stop)[0]
    return generation
