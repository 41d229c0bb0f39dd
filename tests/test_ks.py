import itertools
import json
import math
import random

import numpy as np
import pytest
from scipy.stats import ks_2samp

from palu.ks import (
    Interval,
    bootstrap_ks,
    describe,
    ks_neighbours,
    ks_p_value,
    ks_statistic,
)
from tests.benchmarks.ties import true_distance


def test_the_known_neighbours_of_two_hundred_items():
    found = ks_neighbours(14 / 200, 200, 200)
    assert found.here.p_value == pytest.approx(0.7126, abs=5e-5)
    assert found.smaller is not None
    assert found.larger is not None
    assert found.smaller.p_value == pytest.approx(0.7934, abs=5e-5)
    assert found.larger.p_value == pytest.approx(0.6284, abs=5e-5)
    assert found.larger.statistic - found.here.statistic == pytest.approx(1 / 200)


def test_p_values_of_three_against_three_worked_by_hand():
    # of the 20 orders of 3 + 3 items 2 are fully apart, 10 more differ by two items, all by at least one
    assert ks_p_value(3, 3, 3) == pytest.approx(2 / 20)
    assert ks_p_value(2, 3, 3) == pytest.approx(12 / 20)
    assert ks_p_value(1, 3, 3) == pytest.approx(1.0)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 2), (2, 3), (3, 3), (4, 6), (4, 5), (3, 7)])
def test_attainable_statistics_are_those_of_all_orders(n, m):
    lcm, seen = math.lcm(n, m), set()
    for first in itertools.combinations(range(n + m), n):
        leads = [sum(x <= at for x in first) / n - (at + 1 - sum(x <= at for x in first)) / m for at in range(n + m)]
        seen.add(round(max(map(abs, leads)) * lcm))
    assert {multiple for multiple in range(1, lcm + 1) if ks_p_value(multiple, n, m) is not None} == seen


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 20), (17, 13)])
def test_the_p_value_is_scipys_for_samples_with_that_statistic(n, m):
    draw = random.Random(n * m)
    for shift in (0.0, 0.4, 1.5):
        first, second = [draw.gauss(0, 1) for _ in range(n)], [draw.gauss(shift, 1) for _ in range(m)]
        test = ks_2samp(first, second)
        found = ks_neighbours(float(test.statistic), n, m)
        assert found.here.p_value == pytest.approx(float(test.pvalue), rel=1e-12)
        assert ks_statistic(first, second) == pytest.approx(float(test.statistic), abs=1e-12)


def test_the_ends_of_the_scale_have_one_neighbour():
    top, bottom = ks_neighbours(1.0, 5, 5), ks_neighbours(0.0, 5, 5)
    assert top.larger is None
    assert bottom.smaller is None
    assert bottom.here.p_value == bottom.larger.p_value == 1.0


@pytest.mark.parametrize("statistic", [0.503, 1.2, -0.1, 5 / 6])
def test_a_statistic_that_cannot_come_from_the_sizes_is_refused(statistic):
    with pytest.raises(ValueError, match="cannot come from samples of 2 and 3"):
        ks_neighbours(statistic, 2, 3)


def test_the_published_log_gives_the_published_p_value(shared):
    logs = shared / "oracles" / "tofu-logs"
    ratios = []
    for name in ("full.forget05", "retain95"):
        log = json.loads((logs / f"Llama-2-7b-chat-hf.{name}.json").read_text())
        ratios.append([item["score"] for item in log["forget_truth_ratio"]["value_by_index"].values()])
    found = ks_neighbours(ks_statistic(*ratios), 200, 200)
    assert found.here.p_value == pytest.approx(5.86730162802883e-14, rel=1e-12)


def test_the_band_equals_drawing_items_one_resample_at_a_time():
    draw = random.Random(1)
    runs = [[draw.gauss(mean, 1) for _ in range(15)] for mean in (0.0, 0.8)]
    reference = [draw.gauss(0, 1) for _ in range(15)]
    runs[0][3] = reference[3] = runs[0][4]  # ties
    found = bootstrap_ks(runs, reference, resamples=200, level=0.9, seed=7)

    def lead(run, items, at):
        return sum((run[i] <= at) - (reference[i] <= at) for i in items) / 15

    chosen = np.random.Generator(np.random.PCG64(7)).integers(0, 15, size=(200, 15))
    naive = []
    for items in chosen:
        own = [max(abs(lead(run, items, at) - lead(run, range(15), at)) for at in {*run, *reference}) for run in runs]
        naive.append(sum(own) / 2)
    observed = sum(ks_2samp(run, reference).statistic for run in runs) / 2
    half = np.quantile(naive, 0.9)
    assert (found.low, found.high) == pytest.approx((max(observed - half, 0), min(observed + half, 1)))
    assert found.low < observed < found.high


def test_the_band_is_the_same_every_time_and_of_nothing_where_two_models_are_one():
    values = [float(i) for i in range(20)]
    assert bootstrap_ks([values], values) == bootstrap_ks([values], values)
    assert (bootstrap_ks([values], values).low, bootstrap_ks([values], values).high) == (0, 0)


def test_the_band_of_a_model_that_is_wholly_apart_ends_at_1_and_does_not_claim_to_be_sure():
    values = [float(i) for i in range(20)]
    found = bootstrap_ks([[value + 100 for value in values]], values)
    assert found.high == 1
    assert 0.5 < found.low < 1


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.4, 1.05])
def test_the_band_holds_the_true_distance_in_95_of_100_also_where_it_is_0(shift):
    # of the 200 the share may be 2.6 deviations below 95%: 0.95 - 2.6 sqrt(0.95 * 0.05 / 200)
    truth, held = true_distance(shift), 0
    for seed in range(200):
        generator = np.random.Generator(np.random.PCG64(seed))
        model, retain = generator.normal(shift, 1, 100), generator.normal(0, 1, 100)
        found = bootstrap_ks([model.tolist()], retain.tolist(), resamples=200, seed=seed)
        held += found.low <= truth <= found.high
    assert held / 200 >= 0.91


@pytest.mark.parametrize(("runs", "reference"), [([], [1.0]), ([[]], []), ([[1.0, 2.0]], [1.0])])
def test_a_bootstrap_over_nothing_or_over_other_items_is_refused(runs, reference):
    with pytest.raises(ValueError, match="same items"):
        bootstrap_ks(runs, reference)


def test_a_p_value_is_written_in_one_line_with_its_statistic_interval_and_neighbours():
    assert describe(14 / 200, 0.71260, 200, 200, Interval(0.034, 0.118, 0.95, 1000)) == (
        "p = 0.7126 (D = 0.070, 95% interval over items [0.03, 0.12]; one step away: p = 0.7934, 0.6284)"
    )


def test_a_small_p_value_keeps_three_digits_and_its_neighbours_two():
    tiny = ks_p_value(78, 200, 200)
    smaller, larger = ks_p_value(77, 200, 200), ks_p_value(79, 200, 200)
    assert describe(78 / 200, tiny, 200, 200) == (
        f"p = {tiny:.3g} (D = 0.390; one step away: p = {smaller:.1e}, {larger:.1e})"
    )
    assert larger < tiny < smaller < 1e-12


@pytest.mark.parametrize(("statistic", "p_value", "neighbour"), [(0.0, 1.0, "1.0000"), (1.0, 2 / 252, "0.0794")])
def test_at_an_end_of_the_scale_one_neighbour_is_written(statistic, p_value, neighbour):
    # five against five: 2 of 252 orders are fully apart, 20 of 252 differ by four items or more
    assert describe(statistic, p_value, 5, 5).endswith(f"; one step away: p = {neighbour})")


def test_a_statistic_that_only_ties_reach_is_told_as_given_between_those_without_ties():
    # both halves of the pair fall on the values 1 and 2, so that D = |1/2 - 1/3|
    found = ks_2samp([1, 2], [1, 2, 2])
    assert float(found.statistic) == pytest.approx(1 / 6)
    assert describe(float(found.statistic), float(found.pvalue), 2, 3).startswith("p = 1.0000 (D = 0.167; one step")


@pytest.mark.parametrize("statistic", [0.503, 1.2, -0.1, float("nan")])
def test_a_line_for_an_impossible_statistic_is_refused(statistic):
    with pytest.raises(ValueError, match="cannot come from samples of 2 and 3"):
        describe(statistic, 0.5, 2, 3)
