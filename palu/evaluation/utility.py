"""What the model can still do: the harmonic mean of probability, ROUGE and truth ratio over the parts to keep.

Nine components for TOFU (arXiv 2401.06121, section 2.2.2): retain, real authors and world facts, three each. A
benchmark without one of the parts, or without wrong replies in it, has fewer, and the mean is over those that it
has: `model_utility_component_count` says how many. A component that is missing for any other reason leaves the
utility without a value. One component of 0 makes it 0. MUSE has a measure of its own, and no model utility.
"""

from types import ModuleType

from palu.evaluation import probability, rouge, truth_ratio
from palu.evaluation.base import ItemScores, Missing, Scope, Value, unusable
from palu.evaluation.items import KNOWMEM

SOURCES: tuple[ModuleType, ...] = (probability, rouge, truth_ratio)

COMPONENTS = tuple(
    f"{part}_{measure}"
    for part in ("retain", "real_authors", "world_facts")
    for measure in ("probability", "rouge", "truth_ratio")
)


def items(_evidence: object) -> ItemScores:
    return {}


def summary(items: ItemScores, scope: Scope) -> dict[str, Value]:
    if KNOWMEM["retain"] in scope.parts:
        told = Missing(f"benchmark {scope.benchmark} tells utility by knowledge_memorization_retain")
        return {"model_utility": told, "model_utility_component_count": told}
    found = probability.summary(items, scope) | rouge.summary(items, scope) | truth_ratio.summary(items, scope)
    components = {name: found[name] for name in COMPONENTS}
    had = {name: value for name, value in components.items() if not (isinstance(value, Missing) and value.absent)}
    return {"model_utility": harmonic_mean(had), "model_utility_component_count": float(len(had))}


def harmonic_mean(values: dict[str, Value]) -> Value:
    """n / sum(1 / x); 0 where any x is 0; Missing where any is missing, or where there are none."""
    if not values:
        return Missing("the benchmark has no part whose knowledge should be kept")
    for name, value in values.items():
        if reason := unusable(value):
            return Missing(f"{name}: {reason}")
    numbers = [value for value in values.values() if not isinstance(value, Missing)]
    if min(numbers) <= 0:
        return 0.0
    return len(numbers) / sum(1 / number for number in numbers)
