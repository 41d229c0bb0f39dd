"""How often two draws of one law are declared different in D, and how often the intervals hold the true D.

python -m tests.benchmarks.ties [PAIRS]          default: 1000

Truth ratios are normal on a log scale: the retain model's around 0, a method's around `shift`. `shared` is the share
of their variance that comes from the item, which every model is asked. The true D of a shift s is 2 Phi(s / 2) - 1.
"""

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from palu.ks import LEVEL, RESAMPLES, OrderedPair, bootstrap_ks, resampled_weights
from palu.reporting.resampling import Drawn, interval, p_value

ITEMS = 200
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Shares of the pairs: declared different, the old rule of one KS step, intervals that hold the truth."""

    different: float
    a_step_apart: float
    difference_held: float
    distance_held: float


def true_distance(shift: float) -> float:
    """D between normal laws of deviation 1 whose means are `shift` apart."""
    return float(2 * norm.cdf(abs(shift) / 2) - 1)


def drawn_distance(model: Floats, retain: Floats, weights: npt.NDArray[np.int64]) -> Drawn:
    """D as it is, and in each draw."""
    return OrderedPair(model, retain).statistics(weights)


def simulate(pairs: int, shifts: tuple[float, float], shared: float, resamples: int = RESAMPLES) -> Found:
    """Compare `pairs` pairs of methods with the true shifts."""
    generator = np.random.Generator(np.random.PCG64(0))
    truth = [true_distance(shift) for shift in shifts]
    counts = np.zeros(4)
    for number in range(pairs):
        item = generator.standard_normal(ITEMS)
        retain, first, second = (
            shift + shared**0.5 * item + (1 - shared) ** 0.5 * generator.standard_normal(ITEMS)
            for shift in (0.0, *shifts)
        )
        blocks = [np.ones((1, ITEMS), np.int64), *resampled_weights(ITEMS, resamples, number)]
        weights = np.concatenate(blocks)
        one, other = (drawn_distance(model, retain, weights) for model in (first, second))
        low, high = interval(one - other)
        band = bootstrap_ks([first.tolist()], retain.tolist(), resamples, seed=number)
        counts += [
            p_value(one - other) < 1 - LEVEL,
            abs(one[0] - other[0]) > 1 / ITEMS + 1e-9,
            low <= truth[0] - truth[1] <= high,
            band.low <= truth[0] <= band.high,
        ]
    return Found(*(counts / pairs).tolist())


CASES = ((0.4, 0.4), (0.0, 0.0), (0.1, 0.1), (1.05, 1.05), (0.4, -0.4), (0.4, 0.65), (0.4, 1.05))


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("  D, D    shared  declared different  a step apart  interval of D - D holds it  band of D holds it")
    for shared in (0.0, 0.6):
        for shifts in CASES:
            found = simulate(pairs, shifts, shared)
            first, second = (f"{true_distance(shift):.2f}"[1:] for shift in shifts)
            print(
                f"{first}, {second}  {shared:6.1f}  {found.different:18.1%}  {found.a_step_apart:12.1%}"
                f"  {found.difference_held:26.1%}  {found.distance_held:18.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
