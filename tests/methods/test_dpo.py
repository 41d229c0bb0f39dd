"""DPO with refusals against its equation, finite differences, other cuts, a case by hand, and the peer's code."""

import math

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import dpo
from palu.roles import COMMON, END, SENSITIVE
from tests.methods import plain
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of

SETTINGS = [dpo.Settings(), dpo.Settings(beta=1.5, forget_weight=0.3, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def row_log_ratios(problem, states):
    log_probs = plain.log_probs(problem, states)
    references = states.reference_log_prob.tolist()
    return [sum(reply) for reply in plain.by_row(states, [p - q for p, q in zip(log_probs, references, strict=True)])]


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation_times_two_over_beta(problem, settings, head_class):
    wins, losses = row_log_ratios(problem, problem.alternate), row_log_ratios(problem, problem.forget)
    terms = [math.log(1 + math.exp(-settings.beta * (win - loss))) for win, loss in zip(wins, losses, strict=True)]
    expected = settings.forget_weight * 2 / settings.beta * plain.mean(terms)
    expected -= settings.retain_weight * plain.mean(plain.log_probs(problem, problem.retain))
    assert problem.loss(dpo, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(dpo, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(dpo, settings)


def three_tokens(forget_ratio, alternate_ratio):
    """Replies of three and two tokens with p = 1/24 and 1/6, which are e^ratio times the reference's."""
    two = math.log(2)
    forget = by_hand(
        [[0.0, 0, 0], [two, 0, 0], [two, 0, 0]],
        [COMMON, SENSITIVE, END],
        [2, 0, 1],
        reference_log_prob=torch.tensor([-1.0, -2.0, 3 - math.log(24) - forget_ratio]),
    )
    alternate = by_hand(
        [[0.0, 0, 0], [two, 0, 0]],
        [COMMON, END],
        [1, 0],
        reference_log_prob=torch.tensor([-math.log(6) - alternate_ratio, 0.0]),
    )
    return forget, by_hand([[0.0, 0.0, 0.0]], [END], [1]), alternate


def test_three_tokens_worked_by_hand():
    # beta times the margin is 0.1 * (20 - 10) = 1
    forget, retain, alternate = three_tokens(10.0, 20.0)
    settings = dpo.Settings()
    assert units_of(dpo, settings, forget, retain, alternate) == {"forget": 1, "retain": 1}
    terms = terms_of(dpo, settings, Head(torch.eye(3)), forget, retain, alternate)
    assert terms["forget"].item() == pytest.approx(6.2652338, rel=1e-5)  # 20 ln(1 + 1/e)
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # 2 sigma(-1) = 0.5378828 times one-hot - p, down for the forget token and up for the refusal's
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.2689414, -0.1344707, -0.1344707], rel=1e-5)
    assert alternate.hidden.grad[1].tolist() == pytest.approx([-0.2689414, 0.1344707, 0.1344707], rel=1e-5)


@pytest.mark.parametrize(("forget_ratio", "expected", "gradient"), [(-1e5, 0.0, 0.0), (1e5, 2e5, 1.0)])
def test_a_margin_far_from_zero_gives_no_infinite_loss(forget_ratio, expected, gradient):
    forget, retain, alternate = three_tokens(forget_ratio, 0.0)
    terms = terms_of(dpo, dpo.Settings(), Head(torch.eye(3)), forget, empty(retain), alternate)
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == pytest.approx([expected, 0])
    assert forget.hidden.grad[1, 0].item() == pytest.approx(gradient)


def test_the_refusal_in_a_row_is_held_against_the_reply_in_that_row(problem):
    swapped = type(problem)(**{**vars(problem), "alternate": problem.forget})
    # a reply preferred to itself: log sigma(0) in every row
    settings = dpo.Settings(retain_weight=0)
    assert swapped.loss(dpo, settings).item() == pytest.approx(20 * math.log(2))


def test_no_reply_at_all_gives_zero_with_a_gradient(problem):
    weight = problem.weight.clone().requires_grad_()
    none = [empty(part) for part in (problem.forget, problem.retain, problem.alternate)]
    terms = terms_of(dpo, dpo.Settings(), Head(weight), *none)
    assert [term.item() for term in terms.values()] == [0, 0]
    sum(terms.values()).backward()
    assert not weight.grad.any()


@pytest.mark.parametrize(("key", "value"), [("beta", 0), ("beta", "0.1"), ("retain_weight", -1), ("delta", 1)])
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        dpo.Settings.parse({key: value}, "methods.dpo")


@pytest.mark.parametrize("policy", ["full", "retain"])
def test_the_peers_numbers_are_reproduced(shared, policy):
    peers = peer_batch(shared, policy, "forget")
    facts = printed(shared, policy, "losses_ou.json")["dpo_idk"]
    for head_class in HEADS:
        peers.matches(dpo, dpo.Settings(), head_class, facts)
