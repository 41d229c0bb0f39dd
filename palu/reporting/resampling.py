"""A paired bootstrap over items, with seeds as the second level: what other items and other seeds could change.

A draw takes the n items of a metric n times with replacement, the same ones for every model, so that the difference
of two models in a draw is of the same questions. Of an arm's S seeds a draw takes S - 1 with replacement: the mean
over them then varies as the mean over S seeds does, s^2 / S, where S draws would vary by (S - 1) / S of it (Rao and
Wu 1988). One seed says nothing about other seeds. The naive program evaluates every metric again on each draw; here a
draw is a row of weights, how often it has each item, and a metric is a function of the weights.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from palu.evaluation.metrics import ANSWER_QUANTILE, METRICS
from palu.ks import LEVEL, RESAMPLES, OrderedPair, resampled_weights
from palu.reporting.load import Arm, Evaluation, Study
from palu.reporting.targets import COMPONENTS, STATISTIC, UTILITY

# One number as it is, and then in each draw: (1 + RESAMPLES,)
Drawn = npt.NDArray[np.float64]
Weights = npt.NDArray[np.uint8]

TRUTH_RATIO, PRIVLEAK, MIN_K, EPSILON = "forget_truth_ratio", "privleak", "mia_min_k", 1e-10
COUNTS = {name: metric.count for name, metric in METRICS.items() if metric.count}
ATTACKS = {name for name, metric in METRICS.items() if metric.aim == "attack"}
GEOMETRIC = "first_word_probability"
AGREEMENT = 1e-6
# A probability that became 0 by rounding: its logarithm is finite, and makes a geometric mean 0 all the same.
TINY, LOG_OF_0 = 1e-300, -1e9
_ROWS = 128


class NotMeasured(Exception):
    """Why there is no number."""


def item_metrics(metric: str) -> tuple[str, ...]:
    """The metrics of single items that a metric is made of."""
    if metric == STATISTIC:
        return (TRUTH_RATIO,)
    if metric == UTILITY:
        return tuple(each.name for each in COMPONENTS)
    if metric == PRIVLEAK or metric in ATTACKS:
        attack = MIN_K if metric == PRIVLEAK else metric
        return f"forget_{attack}", f"holdout_{attack}"
    return (metric, COUNTS[metric]) if metric in COUNTS else (metric,)


class Bootstrap:
    """The items of every model of a study, and what a metric is in each draw."""

    def __init__(self, study: Study, metrics: Iterable[str]) -> None:
        """Read the items of `metrics`. Raises UserError for a scores table that is missing or damaged."""
        self._study = study
        wanted = frozenset(name for metric in metrics for name in item_metrics(metric))
        places: dict[str, dict[str, int]] = {}
        arrays: dict[tuple[str, str], Drawn] = {}
        for evaluation in study.evaluations:
            for name, ids, values in evaluation.items(wanted):
                own = places.setdefault(name, {})
                at = [own.setdefault(each, len(own)) for each in ids]
                array = np.full(len(own), np.nan)
                array[at] = values
                arrays[str(evaluation.folder), name] = array
        self._ids = {name: sorted(own) for name, own in places.items()}
        order = {name: np.array([places[name][each] for each in ids]) for name, ids in self._ids.items()}
        self._values: dict[tuple[str, str], Drawn] = {
            key: np.append(array, np.full(len(order[key[1]]) - len(array), np.nan))[order[key[1]]]
            for key, array in arrays.items()
        }
        self._weights: dict[bytes, Weights] = {}
        self._references: dict[tuple[str, str], Drawn] = {}

    def item_count(self, metric: str) -> int:
        """How many items a metric is of."""
        return len(self._ids.get(item_metrics(metric)[0], ()))

    def of(self, evaluation: Evaluation, metric: str) -> Drawn:
        """A metric of one model. Raises NotMeasured where the summary has no number, or another one than its items."""
        key = str(evaluation.folder), metric
        if key in self._references:
            return self._references[key]
        written = evaluation.measured(metric)
        if written.value is None:
            raise NotMeasured(written.reason)
        found = self._compute(evaluation, metric)
        if not abs(found[0] - written.value) <= AGREEMENT * max(1.0, abs(written.value)):
            raise NotMeasured(
                f"{evaluation.folder}: summary.json says {metric} = {written.value:.6g}, its items give {found[0]:.6g}"
            )
        if any(evaluation is each for _, each in self._study.models):
            self._references[key] = found
        return found

    def arm(self, arm: Arm, metric: str) -> Drawn:
        """The mean over an arm's seeds, each draw over its own choice of them."""
        if reason := arm.lacking(metric):
            raise NotMeasured(reason)
        seeds = np.stack([self.of(run.evaluation, metric) for run in arm.runs])
        found: Drawn = np.einsum("ds,sd->d", self._seed_shares(arm.name, len(seeds)), seeds)
        return found

    def _seed_shares(self, name: str, count: int) -> Drawn:
        """How much each seed weighs in each draw, (1 + RESAMPLES, S); the first row is their plain mean."""
        if count == 1:
            return np.ones((1 + RESAMPLES, 1))
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
        generator = np.random.Generator(np.random.PCG64(seed))
        chosen = generator.multinomial(count - 1, [1 / count] * count, size=RESAMPLES) / (count - 1)
        return np.vstack([np.full((1, count), 1 / count), chosen])

    def upper_quartile(self, evaluation: Evaluation, metric: str) -> Drawn:
        """The smallest value that three quarters of the items do not exceed, of the items that have one."""
        values = self._items(evaluation, metric)
        order = np.argsort(values)[: np.isfinite(values).sum()]

        def quartile(weights: Weights) -> Drawn:
            counts = np.cumsum(weights[:, order], axis=1, dtype=np.int64)
            found: Drawn = values[order][np.argmax(counts >= ANSWER_QUANTILE * counts[:, -1:], axis=1)]
            return found

        return self._each_draw(metric, quartile)

    def distance_band(self, name: str, evaluations: Sequence[Evaluation]) -> tuple[float, float]:
        """The interval of D, the mean over models: `palu.ks.bootstrap_ks` with these models as the second level.

        name: whose models they are, which draws their seeds. A draw moves D by the mean of the bands of the models
        that it takes, and by how far their mean D is from that of all.
        """
        moved, values = [], []
        for evaluation in evaluations:
            ordered = OrderedPair(*self._pair(evaluation))
            moved.append(self._each_draw(TRUTH_RATIO, ordered.moves))
            values.append(float(ordered.statistics(self._draws(TRUTH_RATIO)[:1])[0]))
        shares = self._seed_shares(name, len(evaluations))
        mean = float(np.mean(values))
        total = np.einsum("ds,sd->d", shares, np.stack(moved)) + np.abs(shares @ np.array(values) - mean)
        half = float(np.quantile(total[1:], LEVEL))
        return max(mean - half, 0.0), min(mean + half, 1.0)

    def truth_preference(self, evaluation: Evaluation) -> float:
        """The mean of s / (1 + s), with s the truth ratio: low where a model prefers the truth to wrong replies."""
        ratios = self._items(evaluation, TRUTH_RATIO)
        return float(np.nanmean(ratios / (1 + ratios)))

    def _compute(self, evaluation: Evaluation, metric: str) -> Drawn:
        if metric == STATISTIC:
            return self._each_draw(TRUTH_RATIO, OrderedPair(*self._pair(evaluation)).statistics)
        if metric == UTILITY:
            return self._utility(evaluation)
        if metric == PRIVLEAK:
            own, retain = (1 - self._attack(each, MIN_K) for each in (evaluation, self._retain()))
            leaked: Drawn = 100 * (own - retain) / (retain + EPSILON)
            return leaked
        if metric in ATTACKS:
            return self._attack(evaluation, metric)
        values = self._items(evaluation, metric)
        if metric == GEOMETRIC:
            logs = np.where(values == 0, LOG_OF_0, np.log(np.maximum(values, TINY)))
            found: Drawn = np.exp(self._mean(metric, logs))
            return found
        counts = self._items(evaluation, COUNTS[metric]) if metric in COUNTS else None
        return self._mean(metric, values, counts)

    def _items(self, evaluation: Evaluation, name: str) -> Drawn:
        found = self._values.get((str(evaluation.folder), name))
        if found is None or not np.isfinite(found).any():
            raise NotMeasured(f"{evaluation.folder}: scores.parquet has no items of {name}")
        return found

    def _retain(self) -> Evaluation:
        if self._study.retain is None:
            raise NotMeasured("the study has no retain model")
        return self._study.retain

    def _each_draw(self, name: str, statistic: Callable[[Weights], Drawn]) -> Drawn:
        weights = self._draws(name)
        return np.concatenate([statistic(weights[at : at + _ROWS]) for at in range(0, len(weights), _ROWS)])

    def _draws(self, name: str) -> Weights:
        """The weights of an item metric's items, (1 + RESAMPLES, n), of which the first row takes each once; the same
        for every metric of the same items."""
        ids = self._ids[name]
        key = hashlib.sha256("\n".join(ids).encode()).digest()
        if key not in self._weights:
            blocks = resampled_weights(len(ids), RESAMPLES, int.from_bytes(key[:8]))
            own = [np.ones((1, len(ids)), np.uint8), *(block.astype(np.uint8) for block in blocks)]
            self._weights[key] = np.concatenate(own)
        return self._weights[key]

    def _mean(self, name: str, values: Drawn, counts: Drawn | None = None) -> Drawn:
        """The mean over the items that have a value, each taken `counts` times."""
        times = np.isfinite(values) * (1.0 if counts is None else np.nan_to_num(counts))
        pair = np.stack([np.nan_to_num(values) * times, times], axis=1)
        sums = self._each_draw(name, lambda weights: weights.astype(np.float64) @ pair)
        with np.errstate(invalid="ignore"):  # a draw without any item that has a value
            found: Drawn = sums[:, 0] / sums[:, 1]
        return found

    def _utility(self, evaluation: Evaluation) -> Drawn:
        """The harmonic mean of the components' means, which are of the same draws where they are of the same part."""
        means = []
        for component in COMPONENTS:
            values = self._values.get((str(evaluation.folder), component.name), np.empty(0))
            if np.isfinite(values).any():
                is_ratio = component.name.endswith("truth_ratio")
                means.append(self._mean(component.name, np.maximum(0, 1 - values) if is_ratio else values))
        if not means:
            raise NotMeasured(f"{evaluation.folder}: scores.parquet has no items of the utility's components")
        with np.errstate(divide="ignore"):  # a component of 0 makes it 0
            found: Drawn = len(means) / np.sum(1 / np.stack(means), axis=0)
        return found

    def _pair(self, evaluation: Evaluation) -> list[Drawn]:
        """The truth ratios of a model and of the retain model."""
        pair = [self._items(each, TRUTH_RATIO) for each in (evaluation, self._retain())]
        if not np.isfinite(pair).all():
            raise NotMeasured(f"{evaluation.folder}: its truth ratios are not of the retain model's items")
        return pair

    def _attack(self, evaluation: Evaluation, metric: str) -> Drawn:
        """The AUC of an attack, holdout as the positive class; ties count as halves."""
        names = item_metrics(metric)
        forget, holdout = (self._items(evaluation, name) for name in names)
        if not (np.isfinite(forget).all() and np.isfinite(holdout).all()):
            raise NotMeasured(f"{evaluation.folder}: {metric} lacks items that other models have")
        edges = np.unique(np.append(forget, holdout))
        own, other = np.searchsorted(edges, forget), np.searchsorted(edges, holdout)
        by_value = np.argsort(own, kind="stable")
        first, last = (np.searchsorted(own[by_value], other, side=side) for side in ("left", "right"))

        def below(weights: Weights) -> Drawn:
            """(draws, n) how many forget items are below each held-out one."""
            counts = np.cumsum(weights[:, by_value], axis=1, dtype=np.int64)
            counts = np.pad(counts, ((0, 0), (1, 0)))
            found: Drawn = (counts[:, first] + counts[:, last]) / 2
            return found

        own_draws, other_draws = self._draws(names[0]), self._draws(names[1])
        blocks = [slice(at, at + _ROWS) for at in range(0, len(own_draws), _ROWS)]
        above = [np.sum(below(own_draws[block]) * other_draws[block], axis=1) for block in blocks]
        found: Drawn = np.concatenate(above) / (len(forget) * len(holdout))
        return found


def interval(drawn: Drawn, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of a number over its draws."""
    tail = (1 - level) / 2
    low, high = np.nanquantile(drawn[1:], [tail, 1 - tail])
    return float(low), float(high)


def p_value(difference: Drawn) -> float:
    """Twice the share of draws on the other side of 0, so that p < 0.05 where the 95% percentile interval excludes 0.

    Where hardly a draw is there, the share is that of a normal law with the draws' mean and deviation: many pairs need
    smaller shares than the draws can show.
    """
    draws = difference[1:]
    resolution = 2 / len(draws)
    share = 2 * min(np.mean(draws <= 0), np.mean(draws >= 0))
    if share > resolution:
        return min(1.0, float(share))
    deviation = draws.std()
    smooth = 2 * norm.sf(abs(draws.mean()) / deviation) if deviation else 0.0
    return float(min(resolution, smooth))


def holm(p_values: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Holm's adjustment: the i-th smallest of m times m - i + 1, at most 1, and never below a smaller one's."""
    adjusted, floor = {}, 0.0
    for place, pair in enumerate(sorted(p_values, key=lambda each: p_values[each])):
        floor = max(floor, min(1.0, (len(p_values) - place) * p_values[pair]))
        adjusted[pair] = floor
    return adjusted


def tied_pairs(arms: Mapping[str, Drawn]) -> Iterator[tuple[str, str]]:
    """The pairs of arms that are tied: the paired interval of their difference, adjusted over pairs, holds 0."""
    adjusted = holm({(one, two): p_value(arms[one] - arms[two]) for one, two in combinations(arms, 2)})
    return (pair for pair in combinations(arms, 2) if adjusted[pair] >= 1 - LEVEL)
