"""Whether the model can be told from one that never saw the forget set (TOFU, arXiv 2401.06121, section 2.2.2).

The p-value of a two-sample Kolmogorov-Smirnov test between the forget items' truth ratios of the model and those of
the retain model; `forget_quality_statistic` is its D, the largest distance between the two distribution functions.
"""

from types import ModuleType

from palu.evaluation import truth_ratio
from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean

SOURCES: tuple[ModuleType, ...] = (truth_ratio,)


def items(_evidence: object) -> ItemScores:
    return {}


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    quality, statistic = forget_quality(items, scope)
    return {"forget_quality": quality, "forget_quality_statistic": statistic}


def forget_quality(items: ItemScores, scope: Scope) -> tuple[Value, Value]:
    """p-value and statistic; the reason twice where they cannot be had."""
    if absent := scope.lacking("forget", "perturbed"):
        return absent, absent
    if scope.retain is None:
        missing = Missing("no scores of a retain model were given")
        return missing, missing
    model, retain = sample(items, "model"), sample(scope.retain, "retain model")
    for values in (model, retain):
        if isinstance(values, Missing):
            return values, values

    from scipy.stats import ks_2samp

    result = ks_2samp(model, retain)
    return float(result.pvalue), float(result.statistic)


def sample(items: ItemScores, whose: str) -> list[float] | Missing:
    """The forget items' truth ratios; Missing where there are none, or where any is missing or not finite."""
    values = items.get("forget_truth_ratio", {})
    average = mean(values, "forget truth ratio")
    if isinstance(average, Missing):
        return Missing(f"{whose}: {average.reason}")
    return [value for value in values.values() if not isinstance(value, Missing)]
