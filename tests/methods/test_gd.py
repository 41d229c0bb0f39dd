"""GradDiff against its equation, finite differences, other cuts of the step, a case by hand, and the peer's code."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import gd
from palu.roles import COMMON, END, SENSITIVE
from tests.methods import plain
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of

SETTINGS = [
    gd.Settings(),
    gd.Settings(forget_weight=0.3, retain_weight=2.0),
    gd.Settings(retain_loss="kl"),
    gd.Settings(retain_loss="kl", forget_weight=0.3, retain_weight=2.0),
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def mean_kl(problem, replies):
    """KL(p_ref || p_theta), the mean over tokens."""
    reference = replace(problem, weight=problem.reference_weight, bias=problem.reference_bias)
    total = 0.0
    for h, reference_h in zip(replies.hidden.tolist(), replies.reference_hidden.tolist(), strict=True):
        log_p = plain.log_softmax(plain.logits(problem, h))
        log_q = plain.log_softmax(plain.logits(reference, reference_h))
        total += sum(math.exp(q) * (q - p) for p, q in zip(log_p, log_q, strict=True))
    return total / len(replies.target_ids)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_equation(problem, settings, head_class):
    forget = plain.mean(plain.log_probs(problem, problem.forget))
    if settings.retain_loss == "kl":
        retain = mean_kl(problem, problem.retain)
    else:
        retain = -plain.mean(plain.log_probs(problem, problem.retain))
    expected = settings.forget_weight * forget + settings.retain_weight * retain
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
    terms = terms_of(gd, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(-3.1780538)  # -ln 24
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # descent on the log-probability lowers the token's own logit: gradient = one-hot - p
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.5, -0.25, -0.25])


def test_the_kl_of_three_tokens_worked_by_hand():
    # the reference: 1/2, 1/4, 1/4; the policy: thirds, then the same as the reference
    two = math.log(2)
    retain = by_hand(
        [[0.0, 0, 0], [two, 0, 0]], [COMMON, END], [2, 0], reference_hidden=torch.tensor([[two, 0, 0], [two, 0, 0]])
    )
    forget = by_hand([[0.0, 0, 0]], [END], [0])
    settings = gd.Settings(retain_loss="kl")
    assert units_of(gd, settings, forget, retain) == {"forget": 1, "retain": 2}
    terms = terms_of(gd, settings, Head(torch.eye(3), None, torch.eye(3)), forget, retain)
    # 1/2 ln(3/2) + 1/2 ln(3/4)
    assert terms["retain"].item() == pytest.approx(0.0588915, rel=1e-5)
    terms["retain"].backward()
    assert retain.hidden.grad[0].tolist() == pytest.approx([-1 / 6, 1 / 12, 1 / 12], rel=1e-5)  # p_theta - p_ref
    assert retain.hidden.grad[1].tolist() == pytest.approx([0, 0, 0], abs=1e-7)


@pytest.mark.parametrize("retain_loss", ["nll", "kl"])
def test_no_reply_at_all_gives_zero_with_a_gradient(problem, retain_loss):
    weight = problem.weight.clone().requires_grad_()
    settings = gd.Settings(retain_loss=retain_loss)
    none = empty(problem.forget), empty(problem.retain)
    terms = terms_of(gd, settings, replace(problem, weight=weight).head(), *none)
    assert units_of(gd, settings, *none) == {"forget": 0, "retain": 0}
    assert [term.item() for term in terms.values()] == [0, 0]
    sum(terms.values()).backward()
    assert not weight.grad.any()


def test_what_is_read_of_the_reference_follows_from_the_retain_loss():
    assert gd.Settings().needs == frozenset()
    assert gd.Settings(retain_loss="kl").needs == {"retain_states"}


@pytest.mark.parametrize(("key", "value"), [("retain_loss", "KL"), ("peer", True), ("forget_weight", -1)])
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        gd.Settings.parse({key: value}, "methods.gd")


def test_the_peers_numbers_are_reproduced(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["gd"]
    for head_class in HEADS:
        peers.matches(gd, gd.Settings(), head_class, facts)


def test_the_peers_gradient_ascent_is_a_retain_weight_of_zero(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["ga"]
    peers.matches(gd, gd.Settings(retain_weight=0), Head, facts)


def test_with_the_kl_at_every_position_the_peers_numbers_are_reproduced(shared):
    peers = peer_batch(shared, "full", "forget")
    retain = peers.every_position("retain")
    head = Head(peers.policy.lm_head.weight, None, peers.reference_weight)
    forget = peers.replies.forget
    kl = head.kl(retain.hidden, retain.reference_hidden, "reference_policy").mean()
    loss = head.log_prob(forget.hidden, forget.target_ids).mean() + kl
    peers.has_printed(loss, printed(shared, "full", "losses_ou.json")["gd_kl_retain"])
