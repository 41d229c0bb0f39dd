import math

import pytest

from palu.reporting.statistics import seed_interval, spread


def test_spread_of_three_seeds_worked_by_hand():
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.median, found.low, found.high, found.count) == (3.0, 2.0, 1.0, 6.0, 3)
    assert found.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))


def test_one_seed_has_no_deviation_and_no_seed_no_mean():
    assert spread([0.5]).deviation is None
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_the_interval_over_seeds_is_students():
    # t(0.975, 2) = 4.302653; s = 1, n = 3
    found = seed_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.count) == (2.0, 3)
    assert found.high - found.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    with pytest.raises(ValueError, match="one value has no interval"):
        seed_interval([1.0])
