"""How probable the original model finds what a model answers: whether the answers are still language.

    answer_nll         mean over the answers to the forget prompts (MUSE: verbmem) of their negative log-likelihood per
                       token under the original, in nats
    retain_answer_nll  the same for the answers to the retain prompts (MUSE: knowmem_retain)

An answer is read in the template behind the prompt that was asked, without an end token: whether it ended or was cut
(`max_new_tokens`) makes no difference. Empty answers are left out, as `empty_answers` counts them. The level of fluent
text is what the original makes of its own answers to retain prompts, or of the retain model's to the forget prompts.

The values come from a pass of the original over the generations (`palu infer --original`).
"""

from types import ModuleType

from palu.evaluation.base import DOCUMENT, ItemScores, Missing, Scope, Value, answers, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import NOT_GIVEN, Evidence
from palu.evaluation.items import judged_parts

SOURCES: tuple[ModuleType, ...] = ()


def items(evidence: Evidence) -> ItemScores:
    if isinstance(evidence.answer_losses, Missing):
        return {}
    return {
        metric: ScoreColumn(
            (item.example_id, evidence.answer_loss(item.example_id) if item.original["prompt"] else DOCUMENT)
            for item in evidence.items.get(part, ())
        )
        for metric, part in judged_parts(evidence.scope.parts).items()
    }


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    return {
        metric: scope.lacking(part)
        or (mean(answers(items[metric]), "answer NLL") if metric in items else NOT_GIVEN["original"])
        for metric, part in judged_parts(scope.parts).items()
    }
