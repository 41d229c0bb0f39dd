"""Whether the model goes on writing a document as it stands: verbatim memorization (MUSE, arXiv 2407.06460, 3.1).

    mean over the rows of part verbmem of ROUGE-L F1(greedy continuation of the prompt, what follows the prompt)

in 0..1, of as many tokens of either as `evaluation.verbmem_new_tokens` says, by words without a stemmer, as in the
benchmark's code. That code counts the start token among those of the true continuation, which we do not, and cuts the
continuation into tokens by itself, where we do so after its prompt. The name with `_stemmed` is OpenUnlearning's
forget_verbmem_ROUGE: words are stemmed, and the continuation is compared with the whole reply.
"""

from types import ModuleType

from palu.evaluation import rouge
from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import VERBMEM, Example

SOURCES: tuple[ModuleType, ...] = ()

PLAIN = "verbatim_memorization"
STEMMED = "verbatim_memorization_stemmed"


def items(evidence: Evidence) -> ItemScores:
    scores = {PLAIN: ScoreColumn(), STEMMED: ScoreColumn()}
    for item in evidence.items.get(VERBMEM, ()):
        row = item.original
        answer, true = rouge.answer(evidence, row), beginning(evidence, row)
        scores[PLAIN].add(item.example_id, rouge.f1(answer, true, rouge.plain_words))
        scores[STEMMED].add(item.example_id, rouge.f1(answer, row["reply"], rouge.words))
    return scores


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    names = (PLAIN, STEMMED)
    if VERBMEM not in scope.parts and not any(items.get(name) for name in names):
        return {}
    return {name: mean(items.get(name, {}), name.replace("_", " ")) for name in names}


def beginning(evidence: Evidence, row: Example) -> str | Missing:
    """The text of the reply's first `continuation_tokens` tokens, as the evaluated model's tokenizer cuts them."""
    found = evidence.reading(row)
    if isinstance(found, Missing):
        return found
    return str(row["reply"])[: int(found.char_ends[: evidence.continuation_tokens].max(initial=0))]
