"""WGA against its equation, its gradient, other cuts of the step, a case by hand, and the peer's code."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import gd, wga
from palu.roles import COMMON, END, SENSITIVE
from tests.dense_head import DenseHead
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of
from tests.methods.plain import log_probs, mean

SETTINGS = [wga.Settings(), wga.Settings(beta=0.3, forget_weight=0.3, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    ascent = mean(math.exp(log_p) ** settings.beta * log_p for log_p in log_probs(problem, problem.forget))
    expected = settings.forget_weight * ascent - settings.retain_weight * mean(log_probs(problem, problem.retain))
    assert problem.loss(wga, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_the_equation_with_its_weights_held_constant(problem, settings):
    # finite differences would move the weights too
    inputs = [problem.weight, problem.bias, problem.forget.hidden, problem.retain.hidden]
    weight, bias, forget_h, retain_h = inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    probabilities = torch.tensor(log_probs(problem, problem.forget), dtype=torch.float64).exp()
    held = probabilities**settings.beta
    head = DenseHead(weight, bias)
    ascent = (held * head.log_prob(forget_h, problem.forget.target_ids)).mean()
    nll = -head.log_prob(retain_h, problem.retain.target_ids).mean()
    expected = torch.autograd.grad(settings.forget_weight * ascent + settings.retain_weight * nll, inputs)
    parts = {
        "forget": replace(problem.forget, hidden=forget_h),
        "retain": replace(problem.retain, hidden=retain_h),
    }
    loss = replace(problem, **parts, weight=weight, bias=bias).loss(wga, settings, chunk_rows=2)
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), expected, rtol=1e-10, atol=1e-14)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(wga, settings)


def test_three_tokens_worked_by_hand():
    # probabilities 1/3, 1/2 and 1/4 of the tokens; 1/3 of the retain token
    two = math.log(2)
    forget = by_hand([[0.0, 0, 0], [two, 0, 0], [two, 0, 0]], [COMMON, SENSITIVE, END], [2, 0, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = wga.Settings()
    assert units_of(wga, settings, forget, retain) == {"forget": 3, "retain": 1}
    terms = terms_of(wga, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(-1.0593512)  # -(ln 3 / 3 + ln 2 / 2 + ln 4 / 4)
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # 1/2 (one-hot - p)
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.25, -0.125, -0.125])


def test_a_beta_of_zero_is_gradient_ascent(problem):
    assert problem.loss(wga, wga.Settings(beta=0)).item() == pytest.approx(problem.loss(gd, gd.Settings()).item())


def test_a_token_that_is_forgotten_gets_no_gradient():
    forget = by_hand([[-1e4, 0.0]], [END], [0])
    terms = terms_of(wga, wga.Settings(), Head(torch.eye(2)), forget, empty(forget))
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0]
    assert not forget.hidden.grad.any()


@pytest.mark.parametrize("key", ["beta", "forget_weight", "retain_weight"])
def test_negative_settings_are_refused_by_name(key):
    with pytest.raises(UserError, match=f"{key}: -1"):
        wga.Settings.parse({key: -1}, "methods.wga")


def test_the_peers_numbers_are_reproduced(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["wga"]
    assert wga.Settings().beta == facts["settings"]["beta"]
    for head_class in HEADS:
        peers.matches(wga, wga.Settings(), head_class, facts)
