"""SimNPO against its equation, finite differences, other cuts of the step, a case by hand, and the peer's code."""

import math

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import simnpo
from palu.roles import COMMON, END, SENSITIVE
from tests.methods import plain
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of

SETTINGS = [
    simnpo.Settings(),
    simnpo.Settings(beta=0.8, delta=2.0, forget_weight=0.3, retain_weight=2.0),
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    beta, gamma = settings.beta, settings.beta * settings.delta  # the paper's gamma
    terms = []
    for reply in plain.by_row(problem.forget, plain.log_probs(problem, problem.forget)):
        reward = -beta / len(reply) * sum(reply) - gamma
        terms.append(-2 / beta * math.log(1 / (1 + math.exp(-reward))))
    expected = settings.forget_weight * plain.mean(terms)
    expected -= settings.retain_weight * plain.mean(plain.log_probs(problem, problem.retain))
    assert problem.loss(simnpo, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(simnpo, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(simnpo, settings)


def test_three_tokens_worked_by_hand():
    # p(y) = 1/3 * 1/2 * 1/4, so NLL(y) = ln 24 / 3 and beta (NLL - delta) = 1
    two = math.log(2)
    forget = by_hand([[0.0, 0, 0], [two, 0, 0], [two, 0, 0]], [COMMON, SENSITIVE, END], [2, 0, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = simnpo.Settings(beta=2.0, delta=0.5593513)
    assert units_of(simnpo, settings, forget, retain) == {"forget": 1, "retain": 1}
    terms = terms_of(simnpo, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(0.3132617, rel=1e-5)  # ln(1 + 1/e)
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # 2 sigma(-1) / 3 = 0.1792943 times one-hot - p
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.0896471, -0.0448236, -0.0448236], rel=1e-5)


@pytest.mark.parametrize("head_class", HEADS)
def test_a_forgotten_reply_gets_no_gradient_and_a_certain_one_a_bounded_one(head_class):
    retain = empty(by_hand([[0.0, 0.0]], [END], [0]))
    for logit, delta, expected in ((1e4, 0.0, 0.0), (-1e4, 1e4, 2e4)):
        forget = by_hand([[0.0, logit], [0.0, logit]], [COMMON, END], [0, 0])
        settings = simnpo.Settings(delta=delta)
        terms = terms_of(simnpo, settings, head_class(torch.eye(2)), forget, retain)
        sum(terms.values()).backward()
        assert [term.item() for term in terms.values()] == pytest.approx([expected, 0])
        assert not forget.hidden.grad.any()


def test_no_reply_at_all_gives_zero_with_a_gradient(problem):
    weight = problem.weight.clone().requires_grad_()
    terms = terms_of(simnpo, simnpo.Settings(), Head(weight), empty(problem.forget), empty(problem.retain))
    assert [term.item() for term in terms.values()] == [0, 0]
    sum(terms.values()).backward()
    assert not weight.grad.any()


@pytest.mark.parametrize(("key", "value"), [("beta", 0), ("delta", -0.5), ("forget_weight", -1), ("gamma", 1)])
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        simnpo.Settings.parse({key: value}, "methods.simnpo")


@pytest.mark.parametrize("policy", ["full", "retain"])
def test_the_peers_numbers_are_reproduced(shared, policy):
    peers = peer_batch(shared, policy, "forget")
    facts = printed(shared, policy, "losses_ou.json")
    for head_class in HEADS:
        peers.matches(simnpo, simnpo.Settings(), head_class, facts["simnpo"])
        peers.matches(simnpo, simnpo.Settings(beta=3.5, delta=1.0), head_class, facts["simnpo_delta1"])
