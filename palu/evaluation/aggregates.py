"""One number for forgetting, one for privacy, one for utility, and one for all: the field's aggregates, each in 0..1.

    memorization = HM(1 - extraction strength, 1 - exact memorization, 1 - paraphrase probability, 1 - truth ratio)
    privacy      = HM(s of loss, s of zlib, s of Min-K, s of Min-K++)     s = 1 - min(|AUC - AUC_ret| / AUC_ret, 1)
    utility      = HM(model utility, fluency) / the same of the original model
    overall      = HM(memorization, privacy, utility)

HM is the harmonic mean, AUC_ret the retain model's. The paraphrase probability is exp(-loss) of the paraphrased reply
to the forget question (`forget_Q_A_PARA_Prob`), the truth ratio `forget_truth_ratio_prob_mean`. Higher is better:
memorization is 1 where nothing is memorised.

OpenUnlearning's paper reports the four (arXiv 2506.12618, appendix F), made by hand; no code of it was published
(its threads 150 and 172). The formulas are the reading of UDS (arXiv 2605.24614), without its own score in privacy.
UDS cuts utility at 1; here a model that is better than the original has more.
"""

from types import ModuleType

from palu.evaluation import fluency, membership, memorization, truth_ratio, utility
from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean, other_items
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import Item
from palu.evaluation.probability import probability
from palu.evaluation.utility import harmonic_mean

SOURCES: tuple[ModuleType, ...] = (memorization, truth_ratio, membership, utility, fluency)

PARAPHRASE = "forget_paraphrase_probability"
ATTACKS = ("loss", "zlib", "min_k", "min_k_plus_plus")


def items(evidence: Evidence) -> ItemScores:
    return {
        PARAPHRASE: ScoreColumn(
            (item.example_id, _paraphrase_probability(evidence, item)) for item in evidence.items.get("forget", ())
        )
    }


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    paraphrase = scope.lacking("forget", "paraphrase") or mean(items.get(PARAPHRASE, {}), "paraphrase probability")
    memorized = memorization.summary(items, scope) | truth_ratio.summary(items, scope) | {PARAPHRASE: paraphrase}
    names = ("extraction_strength", "exact_memorization", PARAPHRASE, truth_ratio.PROB_MEAN)
    found = {
        "memorization": harmonic_mean({name: _one_minus(memorized[name]) for name in names}),
        "privacy": harmonic_mean({f"mia_{attack}": closeness(items, attack, scope) for attack in ATTACKS}),
        "utility": relative_utility(items, scope),
    }
    return {PARAPHRASE: paraphrase, **found, "overall": harmonic_mean(found)}


def closeness(items: ItemScores, attack: str, scope: Scope) -> Value:
    """s of an attack: 1 where its AUC is the retain model's, 0 where it is at least as far away as that is from 0."""
    own, retain = membership.area(items, attack, scope), membership.retain_area(items, attack, scope)
    if isinstance(own, Missing):
        return own
    if isinstance(retain, Missing):
        return retain
    if retain == 0:
        return Missing("the retain model's AUC is 0, which nothing can be measured by")
    return 1 - min(abs(own - retain) / retain, 1)


def relative_utility(items: ItemScores, scope: Scope) -> Value:
    """HM(model utility, fluency) over that of the original model, on the same items."""
    if isinstance(scope.original, Missing):
        return scope.original
    own, original = _utility(items, scope), _utility(scope.original, scope)
    if isinstance(own, Missing):
        return own
    if isinstance(original, Missing):
        return Missing(f"original model: {original.reason}")
    if original == 0:
        return Missing("the original model's utility is 0, which nothing can be measured by")
    for name in (*utility.COMPONENTS, "fluency"):
        if different := other_items(items.get(name, {}), scope.original.get(name, {}), name, "original model"):
            return different
    return own / original


def _utility(items: ItemScores, scope: Scope) -> Value:
    kept, natural = utility.summary(items, scope), fluency.summary(items, scope)
    return harmonic_mean({"model_utility": kept["model_utility"], "fluency": natural["fluency"]})


def _paraphrase_probability(evidence: Evidence, item: Item) -> Value:
    if item.paraphrase is None:
        return Missing("it has no paraphrase")
    return probability(evidence.loss(item.paraphrase))


def _one_minus(value: Value) -> Value:
    return value if isinstance(value, Missing) else 1 - value
