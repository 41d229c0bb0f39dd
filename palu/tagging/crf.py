"""A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001), fitted by L-BFGS.

    p(y | x) = exp(sum over t of (x_t W)[y_t] + start[y_1] + sum over t > 1 of A[y_t-1, y_t]) / Z(x)

x_t: which features word t has, (F,) of 0 and 1. y_t: one of L labels. Fitting minimises the negative log-likelihood
of the labels plus penalty / 2 times the sum of the squared parameters, of which the one minimum is found from 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# The transitions are few and seen often: they are held less tightly than the weights
_TRANSITION_PENALTY = 0.1


@dataclass(frozen=True)
class Chain:
    """weights: (F, L). transitions: (L, L), from row to column. starts: (L,)."""

    weights: Floats
    transitions: Floats
    starts: Floats


def fit(
    features: csr_matrix,
    labels: Integers,
    lengths: Sequence[int],
    label_count: int,
    penalty: float,
    iterations: int,
) -> Chain:
    """The chain of sequences that lie one after the other.

    features: (N, F). labels: (N,), each in 0..L-1. lengths: words per sequence, all above 0, N in sum. iterations: at
    most so many steps of L-BFGS.
    """
    from scipy.optimize import minimize

    feature_count = features.shape[1]
    steps = list(_steps(lengths))
    observed = np.zeros((len(labels), label_count))
    observed[np.arange(len(labels)), labels] = 1.0
    observed_transitions = np.zeros((label_count, label_count))
    for earlier, later in itertools.pairwise(steps):
        np.add.at(observed_transitions, (labels[earlier[: len(later)]], labels[later]), 1.0)
    observed_starts = observed[steps[0]].sum(axis=0)
    by_feature = features.T.tocsr()
    inner = feature_count * label_count
    penalties = np.full(inner + label_count * (label_count + 1), _TRANSITION_PENALTY)
    penalties[:inner] = penalty

    def unpack(parameters: Floats) -> Chain:
        transitions, starts = np.split(parameters[inner:], [label_count * label_count])
        return Chain(
            parameters[:inner].reshape(feature_count, label_count),
            transitions.reshape(label_count, label_count),
            starts,
        )

    def objective(parameters: Floats) -> tuple[float, Floats]:
        chain = unpack(parameters)
        scores = features @ chain.weights
        log_z, expected, expected_transitions = _forward_backward(scores, chain, steps)
        observed_score = (
            (scores * observed).sum()
            + (chain.transitions * observed_transitions).sum()
            + (chain.starts * observed_starts).sum()
        )
        slope = np.concatenate(
            [
                (by_feature @ (expected - observed)).ravel(),
                (expected_transitions - observed_transitions).ravel(),
                expected[steps[0]].sum(axis=0) - observed_starts,
            ]
        )
        held = penalties * parameters
        return float(log_z - observed_score + 0.5 * (held @ parameters)), slope + held

    start = np.zeros(len(penalties))
    found: Any = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return unpack(found.x)


def marginals(scores: Floats, lengths: Sequence[int], chain: Chain) -> Floats:
    """(N, L): p(y_t | x) of each word. scores: (N, L), x_t W. lengths: words per sequence, all above 0."""
    if not len(scores):
        return scores
    return _forward_backward(scores, chain, list(_steps(lengths)))[1]


def _steps(lengths: Sequence[int]) -> Iterator[Integers]:
    """For t = 0, 1, ...: the rows of the t-th words of all sequences that have one, longest sequence first."""
    sizes = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    order = np.argsort(-sizes, kind="stable")
    starts, sizes = starts[order], sizes[order]
    for step in range(int(sizes[0])):
        yield starts[: int(np.searchsorted(-sizes, -step, side="left"))] + step


def _forward_backward(scores: Floats, chain: Chain, steps: Sequence[Integers]) -> tuple[float, Floats, Floats]:
    """log Z over all sequences; (N, L) marginals; (L, L) expected transitions, summed. All in scaled products."""
    label_count = scores.shape[1]
    highest, highest_transition = scores.max(axis=1, keepdims=True), chain.transitions.max()
    emit, move = np.exp(scores - highest), np.exp(chain.transitions - highest_transition)
    forward, scale = np.empty_like(emit), np.empty(len(emit))
    reached = np.broadcast_to(np.exp(chain.starts - chain.starts.max()), (len(steps[0]), label_count))
    for step, rows in enumerate(steps):
        if step:
            reached = forward[steps[step - 1][: len(rows)]] @ move
        product = emit[rows] * reached
        scale[rows] = product.sum(axis=1)
        forward[rows] = product / scale[rows, None]
    moves = len(scores) - len(steps[0])
    log_z = np.log(scale).sum() + highest.sum() + highest_transition * moves + chain.starts.max() * len(steps[0])

    expected, transitions = np.empty_like(emit), np.zeros_like(move)
    backward = np.ones((len(steps[-1]), label_count))
    for step in range(len(steps) - 1, -1, -1):
        rows = steps[step]
        expected[rows] = forward[rows] * backward
        if not step:
            break
        earlier = steps[step - 1]
        weighted = emit[rows] * backward / scale[rows, None]
        transitions += move * (forward[earlier[: len(rows)]].T @ weighted)
        backward = np.ones((len(earlier), label_count))
        backward[: len(rows)] = weighted @ move.T
    return float(log_z), expected, transitions
