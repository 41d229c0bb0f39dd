"""PDU against its equation, finite differences, other cuts of the step, a case by hand; the rule of its variable."""

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import pdu
from palu.roles import COMMON, END
from tests.methods.oracle import HEADS, by_hand, terms_of, units_of
from tests.methods.plain import log_probs, logits, mean

SETTINGS = [pdu.Settings(), pdu.Settings(forget_weight=0.3, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def plain_loops(problem, settings):
    """The equation of the paper, one float at a time, with lambda as it is at the start."""
    flat = [logits(problem, h) for h in problem.forget.hidden.tolist()]
    margins = [(max(z) - mean(z)) ** 2 for z in flat]
    return settings.forget_weight * mean(margins) - settings.retain_weight * mean(log_probs(problem, problem.retain))


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    assert problem.loss(pdu, settings, head_class).item() == pytest.approx(plain_loops(problem, settings), rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(pdu, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(pdu, settings)


def test_three_tokens_worked_by_hand():
    # margins 3 - 1, 3 - 2 and 0
    forget = by_hand([[3.0, 0, 0], [1.0, 2, 3], [5.0, 5, 5]], [COMMON, COMMON, END], [2, 0, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = pdu.Settings()
    assert units_of(pdu, settings, forget, retain) == {"forget": 3, "retain": 1}
    terms = terms_of(pdu, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(5)
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    # 2 * 2 * (one-hot of the largest - 1/3)
    assert forget.hidden.grad[0].tolist() == pytest.approx([8 / 3, -4 / 3, -4 / 3])


def test_flat_logits_have_neither_loss_nor_gradient():
    forget = by_hand([[2.0, 2.0, 2.0]], [END], [0])
    terms = terms_of(pdu, pdu.Settings(), Head(torch.eye(3)), forget, by_hand([[0.0, 0.0, 0.0]], [END], [1]))
    terms["forget"].backward()
    assert terms["forget"].item() == 0
    assert not forget.hidden.grad.any()


def next_weight(retain_nll, epoch, weight=100.0, **values):
    weights = pdu.Settings(**values).next_weights(
        {"forget": 1.0, "retain": weight}, {"forget": 3.0, "retain": retain_nll}, epoch
    )
    assert weights["forget"] == 1.0
    return weights["retain"]


def test_the_retain_weight_rises_while_the_retain_loss_is_above_its_limit():
    assert next_weight(1.3, 6.0) == pytest.approx(105)
    assert next_weight(0.1, 6.0) == pytest.approx(99)
    assert next_weight(0.3, 6.0) == pytest.approx(100)


def test_the_retain_weight_never_falls_below_zero_and_rises_from_there():
    assert next_weight(0.1, 6.0, weight=0.5) == 0
    assert next_weight(0.7, 6.0, weight=0.0) == pytest.approx(2)


def test_the_first_step_after_the_warm_up_epochs_is_the_first_to_move_the_retain_weight():
    assert next_weight(1.3, 4.75) == 100
    assert next_weight(1.3, 5.0) == 100
    assert next_weight(1.3, 5.25) == pytest.approx(105)
    assert next_weight(1.3, 0.25, dual_warmup_epochs=0) == pytest.approx(105)


def test_a_step_without_retain_tokens_leaves_the_retain_weight_alone():
    weights = {"forget": 1.0, "retain": 7.0}
    assert pdu.Settings().next_weights(weights, {"forget": 3.0}, 6.0) == weights


def test_the_retain_weight_starts_at_its_setting():
    assert pdu.Settings().weights == {"forget": 1, "retain": 100}


@pytest.mark.parametrize("key", ["retain_weight", "retain_limit", "dual_step_size", "dual_warmup_epochs"])
def test_negative_settings_are_refused_by_name(key):
    with pytest.raises(UserError, match=f"{key}: -1"):
        pdu.Settings.parse({key: -1}, "methods.pdu")
