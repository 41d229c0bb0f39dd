"""SatImp against its equation, its gradient, other cuts of the step, a case by hand, and the peer's code."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import satimp, wga
from palu.roles import COMMON, END, SENSITIVE
from tests.dense_head import DenseHead
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of
from tests.methods.plain import log_probs, mean

SETTINGS = [satimp.Settings(), satimp.Settings(beta1=0.3, beta2=2.5, forget_weight=0.7, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def token_weights(problem, settings):
    probabilities = [math.exp(log_p) for log_p in log_probs(problem, problem.forget)]
    return [p**settings.beta1 * (1 - p) ** settings.beta2 for p in probabilities]


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    forget = log_probs(problem, problem.forget)
    ascent = mean(w * log_p for w, log_p in zip(token_weights(problem, settings), forget, strict=True))
    expected = settings.forget_weight * ascent - settings.retain_weight * mean(log_probs(problem, problem.retain))
    assert problem.loss(satimp, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_the_equation_with_its_weights_held_constant(problem, settings):
    # finite differences would move the weights too
    inputs = [problem.weight, problem.bias, problem.forget.hidden, problem.retain.hidden]
    weight, bias, forget_h, retain_h = inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    held = torch.tensor(token_weights(problem, settings), dtype=torch.float64)
    head = DenseHead(weight, bias)
    ascent = (held * head.log_prob(forget_h, problem.forget.target_ids)).mean()
    nll = -head.log_prob(retain_h, problem.retain.target_ids).mean()
    expected = torch.autograd.grad(settings.forget_weight * ascent + settings.retain_weight * nll, inputs)
    parts = {
        "forget": replace(problem.forget, hidden=forget_h),
        "retain": replace(problem.retain, hidden=retain_h),
    }
    loss = replace(problem, **parts, weight=weight, bias=bias).loss(satimp, settings, chunk_rows=2)
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), expected, rtol=1e-10, atol=1e-14)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(satimp, settings)


def test_three_tokens_worked_by_hand():
    # probabilities 1/3, 1/2 and 1/4 of the tokens; 1/3 of the retain token
    two = math.log(2)
    forget = by_hand([[0.0, 0, 0], [two, 0, 0], [two, 0, 0]], [COMMON, SENSITIVE, END], [2, 0, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = satimp.Settings(beta1=2)
    assert units_of(satimp, settings, forget, retain) == {"forget": 3, "retain": 1}
    terms = terms_of(satimp, settings, Head(torch.eye(3)), forget, retain)
    # -(1/9 2/3 ln 3 + 1/4 1/2 ln 2 + 1/16 3/4 ln 4)
    assert terms["forget"].item() == pytest.approx(-0.2330047)
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # 1/8 (one-hot - p)
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.0625, -0.03125, -0.03125])


def test_without_saturation_it_is_wga(problem):
    found = problem.loss(satimp, satimp.Settings(beta1=1.5, beta2=0, forget_weight=1))
    assert found.item() == pytest.approx(problem.loss(wga, wga.Settings(beta=1.5)).item())


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_neither_a_forgotten_nor_a_certain_token_gets_a_gradient(logit):
    forget = by_hand([[logit, 0.0]], [END], [0])
    terms = terms_of(satimp, satimp.Settings(beta2=0.5), Head(torch.eye(2)), forget, empty(forget))
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0]
    assert not forget.hidden.grad.any()


@pytest.mark.parametrize("key", ["beta1", "beta2", "forget_weight", "retain_weight"])
def test_negative_settings_are_refused_by_name(key):
    with pytest.raises(UserError, match=f"{key}: -1"):
        satimp.Settings.parse({key: -1}, "methods.satimp")


def test_the_peers_numbers_are_reproduced(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["satimp"]
    settings = satimp.Settings(forget_weight=1.0)
    assert {"beta1": settings.beta1, "beta2": settings.beta2} == facts["settings"]
    for head_class in HEADS:
        peers.matches(satimp, settings, head_class, facts)
