import math

import pytest

from palu.evaluation import utility
from palu.evaluation.base import Missing, Scope

PARTS = ("retain", "real_authors", "world_facts")


def summary(values, parts=PARTS, kinds=("original", "perturbed")):
    """Model utility where every item of `parts` has the component values of `values`; truth ratios as given."""
    items = {f"{part}_{name}": {"0": value} for part in parts for name, value in values.items()}
    return utility.summary(items, Scope("made-up", frozenset((part, kind) for part in parts for kind in kinds)))


def test_utility_is_the_harmonic_mean_of_nine_components():
    # the truth ratio's aggregate is 1 - 0.75
    found = summary({"probability": 0.5, "rouge": 1.0, "truth_ratio": 0.75})
    assert found["model_utility"] == pytest.approx(9 / (3 * 2 + 3 * 1 + 3 * 4))
    assert found["model_utility_component_count"] == 9


def test_parts_that_the_benchmark_lacks_do_not_count():
    found = summary({"probability": 0.5, "rouge": 1.0, "truth_ratio": 0.75}, parts=("retain",))
    assert found["model_utility"] == pytest.approx(3 / (2 + 1 + 4))
    assert found["model_utility_component_count"] == 3


def test_a_part_without_wrong_replies_has_two_components():
    found = summary({"probability": 0.5, "rouge": 1.0, "truth_ratio": 0.75}, parts=("retain",), kinds=("original",))
    assert found["model_utility"] == pytest.approx(2 / (2 + 1))
    assert found["model_utility_component_count"] == 2


def test_a_component_of_zero_makes_it_zero():
    assert summary({"probability": 0.5, "rouge": 0.0, "truth_ratio": 0.75})["model_utility"] == 0


@pytest.mark.parametrize("broken", [Missing("was not asked"), math.nan, math.inf])
def test_a_component_that_is_missing_for_another_reason_leaves_it_without_a_value(broken):
    found = summary({"probability": 0.5, "rouge": broken, "truth_ratio": 0.75})
    assert found["model_utility"].reason.startswith("retain_rouge: 1 of 1 retain ROUGE values cannot be had")
    assert found["model_utility_component_count"] == 9


def test_a_benchmark_with_nothing_to_keep_has_no_utility():
    assert summary({}, parts=())["model_utility"] == Missing(
        "the benchmark has no part whose knowledge should be kept"
    )


def test_muse_has_a_measure_of_its_own_in_place_of_model_utility():
    scope = Scope("muse", frozenset({("retain", "original"), ("knowmem_retain", "original")}))
    found = utility.summary({"retain_probability": {"retain/0": 0.5}}, scope)
    assert set(found.values()) == {Missing("benchmark muse tells utility by knowledge_memorization_retain")}
