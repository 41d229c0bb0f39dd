"""The chain: its probabilities against the sum over all labellings, its gradient by what fitting reaches."""

import itertools

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from palu.tagging import crf

LENGTHS = [3, 1, 4]
LABELS = 3


@pytest.fixture
def case():
    draw = np.random.default_rng(0)
    chain = crf.Chain(draw.normal(size=(5, LABELS)), draw.normal(size=(LABELS, LABELS)), draw.normal(size=LABELS))
    return chain, draw.integers(0, 2, (sum(LENGTHS), 5)).astype(float)


def scored(chain, scores, labelling):
    moves = itertools.pairwise(labelling)
    return (
        chain.starts[labelling[0]]
        + sum(own[label] for own, label in zip(scores, labelling, strict=True))
        + sum(chain.transitions[before, after] for before, after in moves)
    )


def test_marginals_are_those_of_the_sum_over_all_labellings(case):
    chain, features = case
    scores = features @ chain.weights
    expected = np.zeros_like(scores)
    start = 0
    for length in LENGTHS:
        own = scores[start : start + length]
        weights = {
            labelling: np.exp(scored(chain, own, labelling))
            for labelling in itertools.product(range(LABELS), repeat=length)
        }
        for labelling, weight in weights.items():
            for place, label in enumerate(labelling):
                expected[start + place, label] += weight / sum(weights.values())
        start += length
    np.testing.assert_allclose(crf.marginals(scores, LENGTHS, chain), expected, atol=1e-12)


def test_marginals_stay_finite_where_scores_are_large(case):
    chain, features = case
    found = crf.marginals(1000 * features @ chain.weights, LENGTHS, chain)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_at_the_optimum_the_expected_features_are_the_observed_ones_less_the_penalty(case):
    _, features = case
    labels = np.array([0, 1, 2, 1, 2, 2, 0, 1])
    penalty = 0.5
    chain = crf.fit(csr_matrix(features), labels, LENGTHS, LABELS, penalty, iterations=500)
    expected = crf.marginals(features @ chain.weights, LENGTHS, chain)
    slope = features.T @ (expected - np.eye(LABELS)[labels]) + penalty * chain.weights
    np.testing.assert_allclose(slope, 0, atol=1e-3)
    firsts = [0, 3, 4]
    start_slope = (expected - np.eye(LABELS)[labels])[firsts].sum(axis=0) + 0.1 * chain.starts
    np.testing.assert_allclose(start_slope, 0, atol=1e-3)


def test_a_chain_learns_what_only_the_label_before_tells():
    # a word without features continues what the first one began
    lengths = [4] * 20
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0] * 10)
    features = np.zeros((80, 2))
    features[::8, 0] = features[4::8, 1] = 1.0
    chain = crf.fit(csr_matrix(features), labels, lengths, 2, penalty=0.01, iterations=200)
    assert (crf.marginals(features @ chain.weights, lengths, chain).argmax(axis=1) == labels).all()
