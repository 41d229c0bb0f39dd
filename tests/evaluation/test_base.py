import math

import pytest

from palu.evaluation.base import Missing, Scope, mean


def test_the_mean_of_one_value_is_that_value():
    assert mean({"a": 0.25}, "probability") == 0.25


def test_the_mean_of_nothing_is_missing():
    assert mean({}, "forget ROUGE") == Missing("no item has a value of forget ROUGE")


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_mean_over_a_number_that_is_not_finite_is_missing_and_names_it(broken):
    found = mean({"a": 1.0, "b": broken, "c": broken}, "probability")
    assert found == Missing(f"2 of 3 probability values cannot be had; the first: b: the value is {broken}")


def test_a_mean_over_a_missing_item_is_missing_and_gives_its_reason():
    found = mean({"a": 1.0, "b": Missing("was not asked")}, "ROUGE")
    assert found == Missing("1 of 2 ROUGE values cannot be had; the first: b: was not asked")


def test_a_scope_tells_what_the_benchmark_lacks():
    scope = Scope("village", frozenset({("forget", "original"), ("forget", "perturbed")}))
    assert scope.lacking("forget", "perturbed") is None
    assert scope.lacking("real_authors") == Missing("benchmark village has no part real_authors", absent=True)
    assert scope.lacking("forget", "paraphrase") == Missing(
        "benchmark village has no paraphrase replies in part forget", absent=True
    )
