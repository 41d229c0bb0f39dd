"""UNDIAL against its equation, finite differences, other cuts of the step, a case by hand, and the peer's code."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import undial
from palu.roles import COMMON, END, SENSITIVE
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of
from tests.methods.plain import log_probs, log_softmax, logits, mean

SETTINGS = [undial.Settings(), undial.Settings(beta=1.5, forget_weight=0.3, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def plain_loops(problem, settings):
    """The equation of the paper, one float at a time."""
    forget = problem.forget
    reference = replace(problem, weight=problem.reference_weight, bias=problem.reference_bias)
    terms = []
    for h, reference_h, y in zip(
        *(tensor.tolist() for tensor in (forget.hidden, forget.reference_hidden, forget.target_ids)), strict=True
    ):
        adjusted = logits(reference, reference_h)
        adjusted[y] -= settings.beta
        log_p = log_softmax(logits(problem, h))
        terms.append(-sum(math.exp(q) * p for q, p in zip(log_softmax(adjusted), log_p, strict=True)))
    return settings.forget_weight * mean(terms) - settings.retain_weight * mean(log_probs(problem, problem.retain))


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    expected = plain_loops(problem, settings)
    assert problem.loss(undial, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(undial, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(undial, settings)


def three_tokens():
    """Lowered by ln 4, the reference is uniform at the first and the last token and (4/9, 1/9, 4/9) at the second."""
    two, four = math.log(2), math.log(4)
    forget = by_hand(
        [[two, 0, 0], [0, 0, 0], [0, 0, 0]],
        [COMMON, SENSITIVE, END],
        [0, 1, 2],
        reference_hidden=torch.tensor([[four, 0, 0], [0, 0, 0], [0, 0, four]]),
    )
    return forget, by_hand([[0.0, 0.0, 0.0]], [END], [1]), Head(torch.eye(3), None, torch.eye(3))


def test_three_tokens_worked_by_hand():
    forget, retain, head = three_tokens()
    settings = undial.Settings(beta=math.log(4))
    assert units_of(undial, settings, forget, retain) == {"forget": 3, "retain": 1}
    terms = terms_of(undial, settings, head, forget, retain)
    assert terms["forget"].item() == pytest.approx(3.3524698)  # (ln 2 + 2 ln 4) / 3 + 2 ln 3
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # p - q = (1/2, 1/4, 1/4) - (1/3, 1/3, 1/3)
    assert forget.hidden.grad[0].tolist() == pytest.approx([1 / 6, -1 / 12, -1 / 12])


def test_the_targets_of_a_reference_that_is_certain_stay_finite():
    forget = by_hand([[1e4, 0.0]], [END], [0], reference_hidden=torch.tensor([[1e4, 0.0]]))
    terms = terms_of(undial, undial.Settings(), Head(torch.eye(2), None, torch.eye(2)), forget, empty(forget))
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0]
    assert not forget.hidden.grad.any()


def test_it_reads_the_references_states():
    assert undial.Settings().needs == {"states"}


@pytest.mark.parametrize(("key", "value"), [("beta", 0), ("retain_weight", -1), ("alpha", 1)])
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        undial.Settings.parse({key: value}, "methods.undial")


def test_with_the_mean_over_every_position_the_peers_numbers_are_reproduced(shared):
    facts = printed(shared, "full", "losses_ou.json")["undial"]
    peers = peer_batch(shared, "full", "forget")
    forget = peers.every_position("forget")
    head = Head(peers.policy.lm_head.weight, None, peers.reference_weight)
    # the label -100 of a token that is not predicted finds the logit of token V - 100
    ids = torch.where(forget.labels == -100, head.vocabulary_size - 100, forget.labels)
    beta = facts["settings"]["beta"]
    assert beta == undial.Settings().beta
    adjusted = head.cross_entropy_to_reference(forget.hidden, forget.reference_hidden, ids, beta)
    retain = peers.replies.retain
    peers.has_printed(adjusted[forget.has_next].mean() - head.log_prob(retain.hidden, retain.target_ids).mean(), facts)
