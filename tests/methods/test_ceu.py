"""CE-U against its equation, its gradient, other cuts of the step, a case by hand, and the peer's code."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import ceu
from palu.roles import COMMON, END, SENSITIVE
from tests.dense_head import DenseHead
from tests.methods.oracle import HEADS, by_hand, empty, peer_batch, printed, terms_of, units_of
from tests.methods.plain import log_probs, log_softmax, logits, mean

SETTINGS = [
    ceu.Settings(),
    ceu.Settings(ignore_first_n=0, forget_weight=0.3, retain_weight=2.0),
    ceu.Settings(ignore_first_n=2),
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def targets(problem, settings):
    """Position -> the distribution that it is drawn to, for the positions past the first of each reply."""
    found, seen = {}, {}
    for t, h in enumerate(problem.forget.hidden.tolist()):
        y, row = int(problem.forget.target_ids[t]), int(problem.forget.row[t])
        seen[row] = seen.get(row, 0) + 1
        if seen[row] > settings.ignore_first_n:
            others = [0.0 if v == y else math.exp(value) for v, value in enumerate(logits(problem, h))]
            found[t] = [value / sum(others) for value in others]
    return found


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    log_p = [log_softmax(logits(problem, h)) for h in problem.forget.hidden.tolist()]
    terms = [-sum(a * b for a, b in zip(q, log_p[t], strict=True)) for t, q in targets(problem, settings).items()]
    nll = -mean(log_probs(problem, problem.retain))
    expected = settings.forget_weight * mean(terms) + settings.retain_weight * nll
    assert problem.loss(ceu, settings, head_class).item() == pytest.approx(expected, rel=1e-12)


@every_setting
def test_gradients_are_those_of_the_equation_with_its_targets_held_constant(problem, settings):
    # finite differences would move the targets too
    inputs = [problem.weight, problem.bias, problem.forget.hidden, problem.retain.hidden]
    weight, bias, forget_h, retain_h = inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    held = targets(problem, settings)
    head = DenseHead(weight, bias)
    log_p = head.logits(forget_h[list(held)]).log_softmax(-1)
    cross_entropy = -(torch.tensor(list(held.values()), dtype=torch.float64) * log_p).sum(-1).mean()
    nll = -head.log_prob(retain_h, problem.retain.target_ids).mean()
    total = settings.forget_weight * cross_entropy + settings.retain_weight * nll
    expected = torch.autograd.grad(total, inputs)
    parts = {
        "forget": replace(problem.forget, hidden=forget_h),
        "retain": replace(problem.retain, hidden=retain_h),
    }
    loss = replace(problem, **parts, weight=weight, bias=bias).loss(ceu, settings, chunk_rows=2)
    found = torch.autograd.grad(loss, inputs, materialize_grads=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(ceu, settings)


def test_three_tokens_worked_by_hand():
    # p is (1/2, 1/4, 1/4) at the second and the third token, whose targets are (0, 1/2, 1/2) and (2/3, 0, 1/3)
    two = math.log(2)
    forget = by_hand([[0.0, 0, 0], [two, 0, 0], [two, 0, 0]], [COMMON, SENSITIVE, END], [2, 0, 1])
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = ceu.Settings()
    assert units_of(ceu, settings, forget, retain) == {"forget": 2, "retain": 1}
    terms = terms_of(ceu, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(2.3104906)  # ln 4 + 2/3 ln 2 + 1/3 ln 4
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    terms["forget"].backward()
    assert forget.hidden.grad[0].tolist() == [0, 0, 0]
    assert forget.hidden.grad[1].tolist() == pytest.approx([0.5, -0.25, -0.25])


def test_the_first_tokens_of_each_reply_are_left_out(problem):
    # replies of 7, 2 and 6 tokens
    for ignored, left in ((0, 15), (1, 12), (2, 9), (3, 7), (7, 0)):
        settings = ceu.Settings(ignore_first_n=ignored)
        assert units_of(ceu, settings, problem.forget, problem.retain) == {"forget": left, "retain": 5}


def test_a_reply_with_no_token_left_gives_zero():
    forget = by_hand([[0.0, 0.0]], [END], [0])
    settings = ceu.Settings()
    assert units_of(ceu, settings, forget, empty(forget)) == {"forget": 0, "retain": 0}
    terms = terms_of(ceu, settings, Head(torch.eye(2)), forget, empty(forget))
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0]
    assert not forget.hidden.grad.any()


def test_a_certain_token_gets_the_full_gradient_where_gradient_ascent_has_none():
    forget = by_hand([[50.0, 0.0, 0.0]], [END], [0])
    terms = terms_of(ceu, ceu.Settings(ignore_first_n=0), Head(torch.eye(3)), forget, empty(forget))
    sum(terms.values()).backward()
    assert terms["forget"].item() == pytest.approx(50)
    assert forget.hidden.grad[0].tolist() == pytest.approx([1, -0.5, -0.5])


@pytest.mark.parametrize(("key", "value"), [("ignore_first_n", -1), ("forget_weight", -1), ("beta", 1)])
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        ceu.Settings.parse({key: value}, "methods.ceu")


def test_the_peers_numbers_are_reproduced(shared):
    peers = peer_batch(shared, "full", "forget")
    facts = printed(shared, "full", "losses_ou.json")["ceu"]
    assert ceu.Settings().ignore_first_n == facts["settings"]["ignore_first_n_answer_tokens"]
    for head_class in HEADS:
        peers.matches(ceu, ceu.Settings(), head_class, facts)
