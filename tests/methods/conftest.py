"""What the tests of all methods share."""

import pytest

from tests.methods.oracle import Problem, SmallWorld, random_problem


@pytest.fixture(scope="session")
def problem() -> Problem:
    return random_problem()


@pytest.fixture(scope="session")
def small_world() -> SmallWorld:
    return SmallWorld()
