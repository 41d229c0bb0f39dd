"""NPO against its equation, finite differences, other cuts of the step, a case by hand, and the peer's code."""

import math

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import npo
from palu.roles import COMMON, END, SENSITIVE
from tests.methods import plain
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of

SETTINGS = [npo.Settings(), npo.Settings(beta=1.5, forget_weight=0.3, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)
WEIGHTED = npo.Settings(entropy_weighting=True, entropy_temperature=0.7, beta=0.5)


def plain_loops(problem, settings):
    """The equation of the paper, one float at a time."""

    def log_prob(h, y):
        z = [
            sum(w * x for w, x in zip(row, h, strict=True)) + b
            for row, b in zip(problem.weight.tolist(), problem.bias.tolist(), strict=True)
        ]
        return z[y] - math.log(sum(math.exp(value) for value in z))

    forget, retain = problem.forget, problem.retain
    rows = [0.0] * forget.row_count
    for h, y, reference, row in zip(
        *(tensor.tolist() for tensor in (forget.hidden, forget.target_ids, forget.reference_log_prob, forget.row)),
        strict=True,
    ):
        rows[row] += log_prob(h, y) - reference
    terms = [2 / settings.beta * math.log(1 + math.exp(settings.beta * ratio)) for ratio in rows]
    nll = [-log_prob(h, y) for h, y in zip(retain.hidden.tolist(), retain.target_ids.tolist(), strict=True)]
    return settings.forget_weight * sum(terms) / len(terms) + settings.retain_weight * sum(nll) / len(nll)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    assert problem.loss(npo, settings, head_class).item() == pytest.approx(plain_loops(problem, settings), rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(npo, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(npo, settings)


def test_three_tokens_worked_by_hand():
    # p(y) = 1/3 * 1/2 * 1/4 = e^10 * p_ref(y), so that beta times the log ratio is 1
    two = math.log(2)
    reference_log_prob = torch.tensor([-1.0, -2.0, -10.1780538])
    forget = by_hand(
        [[0.0, 0, 0], [two, 0, 0], [two, 0, 0]],
        [COMMON, SENSITIVE, END],
        [2, 0, 1],
        reference_log_prob=reference_log_prob,
    )
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = npo.Settings()
    assert units_of(npo, settings, forget, retain) == {"forget": 1, "retain": 1}
    terms = terms_of(npo, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(26.265234)  # 20 ln(1 + e)
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # 2 sigma(1) = 1.4621172 times one-hot - p
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.7310586, -0.3655293, -0.3655293])


@pytest.mark.parametrize("head_class", HEADS)
def test_entropy_weights_multiply_each_tokens_log_ratio(problem, head_class):
    forget = problem.forget
    weights = plain.entropy_weights(problem, forget, WEIGHTED.entropy_temperature)
    tokens = zip(weights, plain.log_probs(problem, forget), forget.reference_log_prob.tolist(), strict=True)
    rows = plain.by_row(forget, [w * (log_prob - reference) for w, log_prob, reference in tokens])
    expected = plain.mean(2 / WEIGHTED.beta * math.log(1 + math.exp(WEIGHTED.beta * sum(row))) for row in rows)
    expected -= plain.mean(plain.log_probs(problem, problem.retain))
    assert problem.loss(npo, WEIGHTED, head_class).item() == pytest.approx(expected, rel=1e-12)


def test_with_entropy_weights_held_gradients_are_those_of_finite_differences(problem, monkeypatch):
    plain.hold_weights(monkeypatch, npo, lambda: problem.loss(npo, WEIGHTED))
    assert problem.gradients_hold(npo, WEIGHTED)


def test_with_entropy_weights_too_padding_and_micro_batches_change_nothing(small_world):
    small_world.cuts_agree(npo, WEIGHTED)


def test_three_weighted_tokens_worked_by_hand():
    # entropies ln 3, 0, ln 3: weights 3/2, 0, 3/2; log ratios 1, whatever, 5
    forget = by_hand(
        [[0.0, 0, 0], [1000.0, 0, 0], [0.0, 0, 0]],
        [COMMON, SENSITIVE, END],
        [2, 0, 1],
        reference_log_prob=torch.tensor([-1.0 - math.log(3), -7.0, -5.0 - math.log(3)]),
    )
    retain = empty(by_hand([[0.0, 0.0, 0.0]], [END], [1]))
    terms = terms_of(npo, npo.Settings(entropy_weighting=True), Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(20 * math.log(1 + math.exp(0.9)))
    terms["forget"].backward()
    # 3/2 * 2 sigma(0.9) = 2.1328485 times one-hot - p
    assert forget.hidden.grad[0].tolist() == pytest.approx([-0.7109495, -0.7109495, 1.4218990])
    assert not forget.hidden.grad[1].any()


def test_a_reply_far_less_probable_than_the_references_gets_no_gradient():
    forget = by_hand([[0.0, 0.0]], [END], [0], reference_log_prob=torch.tensor([1e4]))
    retain = empty(by_hand([[0.0, 0.0]], [END], [0]))
    terms = terms_of(npo, npo.Settings(), Head(torch.eye(2)), forget, retain)
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0]
    assert not forget.hidden.grad.any()


def test_a_beta_of_zero_is_refused():
    with pytest.raises(UserError, match="beta: 0"):
        npo.Settings.parse({"beta": 0}, "methods.npo")


def test_the_peers_numbers_are_reproduced(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["npo"]
    for head_class in HEADS:
        # The peer's cross-entropy over (B, V, T) logits sums in an order that costs it 1.4e-4 in the gradient of
        # model.norm.weight: the same code in float64 gives our number
        peers.matches(npo, npo.Settings(), head_class, facts, parameter_tolerance=2e-4)
