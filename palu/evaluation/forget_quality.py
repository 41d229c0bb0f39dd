"""Whether the model can be told from one that never saw the forget set (TOFU, arXiv 2401.06121, section 2.2.2).

The p-value of a two-sample Kolmogorov-Smirnov test between the forget items' truth ratios of the model and those of
the retain model; `forget_quality_statistic` is its D, the largest distance between the two distribution functions,
and `_low` and `_high` end the interval that a bootstrap over the items gives for D. All are missing where the two
models were not asked the same items.
"""

from collections.abc import Iterable, Mapping
from types import ModuleType

from palu import ks
from palu.evaluation import truth_ratio
from palu.evaluation.base import ItemScores, Missing, Scope, Value, mean, other_items

SOURCES: tuple[ModuleType, ...] = (truth_ratio,)

NAMES = (
    "forget_quality",
    "forget_quality_statistic",
    "forget_quality_statistic_low",
    "forget_quality_statistic_high",
)


def items(_evidence: object) -> ItemScores:
    return {}


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    samples = compared(items, scope)
    if isinstance(samples, Missing):
        return dict.fromkeys(NAMES, samples)
    model, retain = samples
    found = interval(model, retain)
    values = [*kolmogorov_smirnov(model.values(), retain.values()), found.low, found.high]
    return dict(zip(NAMES, values, strict=True))


def kolmogorov_smirnov(model: Iterable[float], retain: Iterable[float]) -> tuple[float, float]:
    """p-value and D of the two-sample test."""
    from scipy.stats import ks_2samp

    result = ks_2samp([*model], [*retain])
    return float(result.pvalue), float(result.statistic)


def describe(values: Mapping[str, Value], items: ItemScores, scope: Scope) -> str | None:
    """Forget quality in one line, with all that keeps a reader from taking the p-value too literally.

    values: the summary's; None where they hold no forget quality.
    """
    quality, statistic, low, high = (values.get(name, Missing("not asked for")) for name in NAMES)
    samples = compared(items, scope)
    if isinstance(quality, Missing) or isinstance(statistic, Missing) or isinstance(samples, Missing):
        return None
    found = None
    if not isinstance(low, Missing) and not isinstance(high, Missing):
        found = ks.Interval(low, high, ks.LEVEL, ks.RESAMPLES)
    model, retain = samples
    return ks.describe(statistic, quality, len(model), len(retain), found)


Sample = Mapping[str, float]


def compared(items: ItemScores, scope: Scope) -> tuple[Sample, Sample] | Missing:
    """The truth ratios of the forget items, by example_id: the model's and the retain model's, of the same items."""
    if absent := scope.lacking("forget", "perturbed"):
        return absent
    if isinstance(scope.retain, Missing):
        return scope.retain
    model, retain = sample(items, "model"), sample(scope.retain, "retain model")
    if isinstance(model, Missing):
        return model
    if isinstance(retain, Missing):
        return retain
    return other_items(model, retain, "forget") or (model, retain)


def sample(items: ItemScores, whose: str) -> Sample | Missing:
    """The forget items' truth ratios; Missing where there are none, or where any is missing or not finite."""
    values = items.get("forget_truth_ratio", {})
    average = mean(values, "forget truth ratio")
    if isinstance(average, Missing):
        return Missing(f"{whose}: {average.reason}")
    return {key: value for key, value in values.items() if not isinstance(value, Missing)}


def interval(model: Sample, retain: Sample) -> ks.Interval:
    """The D of other items of the same kind; an item is drawn with both models' values."""
    order = sorted(model)
    return ks.bootstrap_ks([[model[key] for key in order]], [retain[key] for key in order])
