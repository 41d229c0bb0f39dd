"""Gradient ascent against its equation, finite differences, other cuts of the step, cases by hand, the peer's code."""

import math

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import entropy, ga
from palu.roles import COMMON, END, SENSITIVE
from tests.methods import plain
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of

PLAIN = ga.Settings()
WEIGHTED = ga.Settings(entropy_weighting=True, entropy_temperature=0.7)
every_setting = pytest.mark.parametrize("settings", [PLAIN, WEIGHTED], ids=str)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_equation(problem, settings, head_class):
    log_probs = plain.log_probs(problem, problem.forget)
    if settings.entropy_weighting:
        weights = plain.entropy_weights(problem, problem.forget, settings.entropy_temperature)
        log_probs = [w * log_prob for w, log_prob in zip(weights, log_probs, strict=True)]
    assert problem.loss(ga, settings, head_class).item() == pytest.approx(plain.mean(log_probs), rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences_with_the_weights_held(problem, settings, monkeypatch):
    if settings.entropy_weighting:
        plain.hold_weights(monkeypatch, entropy, lambda: problem.loss(ga, settings))
    assert problem.gradients_hold(ga, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(ga, settings)


def test_three_tokens_worked_by_hand():
    # probabilities 1/3, 1/2 and 1/4 of the tokens
    two = math.log(2)
    forget = by_hand([[0.0, 0, 0], [two, 0, 0], [two, 0, 0]], [COMMON, SENSITIVE, END], [2, 0, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    assert units_of(ga, PLAIN, forget, retain) == {"forget": 3}
    terms = terms_of(ga, PLAIN, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(-3.1780538)  # -ln 24
    terms["forget"].backward()
    # one-hot - p: descent on the log-probability lowers the token's own logit
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.5, -0.25, -0.25])
    assert retain.hidden.grad is None


def test_three_weighted_tokens_worked_by_hand():
    # entropies ln 3, 0, ln 3: weights 3/2, 0, 3/2
    forget = by_hand([[0.0, 0, 0], [1000.0, 0, 0], [0.0, 0, 0]], [COMMON, SENSITIVE, END], [2, 1, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    terms = terms_of(ga, WEIGHTED, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(-3.2958369)  # -3 ln 3
    terms["forget"].backward()
    assert forget.hidden.grad[0].tolist() == pytest.approx([-0.5, -0.5, 1.0])
    assert not forget.hidden.grad[1].any()


@every_setting
def test_no_forget_reply_gives_zero_with_a_gradient(problem, settings):
    weight = problem.weight.clone().requires_grad_()
    terms = terms_of(ga, settings, Head(weight), empty(problem.forget), problem.retain)
    assert terms["forget"].item() == 0
    terms["forget"].backward()
    assert not weight.grad.any()


def test_a_weight_of_the_retain_term_that_it_lacks_is_refused():
    with pytest.raises(UserError, match="unknown key 'retain_weight'"):
        ga.Settings.parse({"retain_weight": 1}, "methods.ga")


@pytest.mark.parametrize("policy", ["full", "retain"])
def test_the_peers_numbers_are_reproduced(shared, policy):
    peers = peer_batch(shared, policy, "forget")
    facts = printed(shared, policy, "losses_ou.json")["ga"]
    for head_class in HEADS:
        peers.matches(ga, PLAIN, head_class, facts)
