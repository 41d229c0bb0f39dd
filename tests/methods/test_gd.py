"""GradDiff against its equation, finite differences, other cuts of the step, a case by hand, and the peer's code."""

import math

import pytest
import torch

from palu.heads import ChunkedHead
from palu.methods import gd
from palu.roles import COMMON, END, SENSITIVE
from tests.methods.oracle import HEADS, by_hand, peer_batch, printed, terms_of, units_of

SETTINGS = [gd.Settings(), gd.Settings(forget_weight=0.3, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def mean_nll(problem, replies):
    total = 0.0
    for h, y in zip(replies.hidden.tolist(), replies.target_ids.tolist(), strict=True):
        z = [
            sum(w * x for w, x in zip(row, h, strict=True)) + b
            for row, b in zip(problem.weight.tolist(), problem.bias.tolist(), strict=True)
        ]
        total -= z[y] - math.log(sum(math.exp(value) for value in z))
    return total / len(replies.target_ids)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_equation(problem, settings, head_class):
    forget, retain = mean_nll(problem, problem.forget), mean_nll(problem, problem.retain)
    expected = -settings.forget_weight * forget + settings.retain_weight * retain
    assert problem.loss(gd, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(gd, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(gd, settings)


def test_three_tokens_worked_by_hand():
    # probabilities 1/3, 1/2 and 1/4 of the tokens; 1/3 of the retain token
    two = math.log(2)
    forget = by_hand([[0.0, 0, 0], [two, 0, 0], [two, 0, 0]], [COMMON, SENSITIVE, END], [2, 0, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = gd.Settings()
    assert units_of(gd, settings, forget, retain) == {"forget": 3, "retain": 1}
    terms = terms_of(gd, settings, ChunkedHead(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(-3.1780538)  # -ln 24
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # descent on the log-probability lowers the token's own logit: gradient = one-hot - p
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.5, -0.25, -0.25])


def test_the_peers_numbers_are_reproduced(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["gd"]
    for head_class in HEADS:
        peers.matches(gd, gd.Settings(), head_class, facts)


def test_the_peers_gradient_ascent_is_a_retain_weight_of_zero(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["ga"]
    peers.matches(gd, gd.Settings(retain_weight=0), ChunkedHead, facts)
