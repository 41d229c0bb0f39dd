"""ETW against its equation, finite differences, other cuts of the step and a case by hand; no peer prints numbers."""

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import entropy, etw, ga, gd
from palu.roles import COMMON, END, SENSITIVE
from tests.methods import plain
from tests.methods.oracle import HEADS, by_hand, empty, terms_of, units_of

SETTINGS = [etw.Settings(), etw.Settings(temperature=2.5, forget_weight=0.3, retain_weight=2.0)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    weights = plain.entropy_weights(problem, problem.forget, settings.temperature)
    log_probs = plain.log_probs(problem, problem.forget)
    expected = settings.forget_weight * plain.mean(w * value for w, value in zip(weights, log_probs, strict=True))
    expected -= settings.retain_weight * plain.mean(plain.log_probs(problem, problem.retain))
    assert problem.loss(etw, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences_with_the_weights_held(problem, settings, monkeypatch):
    plain.hold_weights(monkeypatch, entropy, lambda: problem.loss(etw, settings))
    assert problem.gradients_hold(etw, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(etw, settings)


def test_three_tokens_worked_by_hand():
    # entropies ln 3, 0, ln 3: weights 3/2, 0, 3/2
    forget = by_hand([[0.0, 0, 0], [1000.0, 0, 0], [0.0, 0, 0]], [COMMON, SENSITIVE, END], [2, 1, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = etw.Settings()
    assert units_of(etw, settings, forget, retain) == {"forget": 3, "retain": 1}
    terms = terms_of(etw, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(-3.2958369)  # -3 ln 3
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    assert forget.hidden.grad[0].tolist() == pytest.approx([-0.5, -0.5, 1.0])  # 3/2 (one-hot - p)
    assert not forget.hidden.grad[1].any()


@pytest.mark.parametrize("head_class", HEADS)
def test_a_token_gets_its_weight_times_the_gradient_of_gradient_ascent(problem, head_class):
    gradients = []
    for method, settings in ((gd, gd.Settings()), (etw, etw.Settings())):
        hidden = problem.forget.hidden.clone().requires_grad_()
        forget = type(problem.forget)(**{**vars(problem.forget), "hidden": hidden})
        terms_of(method, settings, problem.head(head_class), forget, problem.retain)["forget"].backward()
        gradients.append(hidden.grad)
    weights = torch.tensor(plain.entropy_weights(problem, problem.forget, 1.0), dtype=torch.float64)
    torch.testing.assert_close(gradients[1], weights[:, None] * gradients[0])


def test_a_model_without_a_retain_weight_is_weighted_gradient_ascent(problem):
    found = problem.loss(etw, etw.Settings(temperature=0.5, retain_weight=0))
    expected = problem.loss(ga, ga.Settings(entropy_weighting=True, entropy_temperature=0.5))
    assert found.item() == expected.item()


def test_a_forget_weight_of_zero_leaves_the_retain_term_alone(problem):
    weight = problem.weight.clone().requires_grad_()
    changed = type(problem)(**{**vars(problem), "weight": weight})
    loss = changed.loss(etw, etw.Settings(forget_weight=0))
    loss.backward()
    assert loss.item() == pytest.approx(-plain.mean(plain.log_probs(problem, problem.retain)))
    assert weight.grad.any()


def test_replies_that_the_model_is_sure_of_are_unlearned_like_others():
    # no entropy anywhere: the weights are 1, not 0 / 0
    forget = by_hand([[200.0, 0, 0], [0.0, 200.0, 0]], [COMMON, END], [0, 0])
    retain = empty(by_hand([[0.0, 0, 0]], [END], [0]))
    terms = terms_of(etw, etw.Settings(), Head(torch.eye(3)), forget, retain)
    assert [term.item() for term in terms.values()] == [-200, 0]
    sum(terms.values()).backward()
    assert forget.hidden.grad[1].tolist() == [1, -1, 0]


def test_no_reply_at_all_gives_zero_with_a_gradient(problem):
    weight = problem.weight.clone().requires_grad_()
    terms = terms_of(etw, etw.Settings(), Head(weight), empty(problem.forget), empty(problem.retain))
    assert [term.item() for term in terms.values()] == [0, 0]
    sum(terms.values()).backward()
    assert not weight.grad.any()


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(UserError, match="temperature: 0"):
        etw.Settings.parse({"temperature": 0}, "methods.etw")
