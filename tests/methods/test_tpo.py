"""TPO against its equation, finite differences, other cuts of the step, and a case by hand."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import tpo
from palu.methods.base import ReplyStates
from palu.roles import COMMON, END, SENSITIVE
from tests.methods.oracle import HEADS, by_hand, empty, positions, terms_of, units_of
from tests.methods.plain import by_row, log_probs, logits, mean

SETTINGS = [
    tpo.Settings(),
    tpo.Settings(beta=1.5, forget_weight=0.3, common_weight=0.7, retain_weight=2.0),
    tpo.Settings(beta=0.23, retain_weight=1.0),
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def plain_loops(problem, settings):
    """The equations of the paper and of the authors' code, one float at a time."""
    forget = problem.forget
    reference = replace(problem, weight=problem.reference_weight, bias=problem.reference_bias)
    drops = [
        logits(reference, reference_h)[y] - logits(problem, h)[y]
        for h, reference_h, y in zip(
            *(tensor.tolist() for tensor in (forget.hidden, forget.reference_hidden, forget.target_ids)), strict=True
        )
    ]
    unwanted = (forget.role == SENSITIVE).tolist()
    rows = by_row(forget, zip(unwanted, drops, strict=True))
    means = [mean(drop for chosen, drop in row if chosen) for row in rows]
    common = [log_p for log_p, chosen in zip(log_probs(problem, forget), unwanted, strict=True) if not chosen]
    return (
        settings.forget_weight * mean(2 / settings.beta * math.log(1 + math.exp(-settings.beta * d)) for d in means)
        - settings.common_weight * sum(common) / forget.row_count
        - settings.retain_weight * mean(log_probs(problem, problem.retain))
    )


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    assert problem.loss(tpo, settings, head_class).item() == pytest.approx(plain_loops(problem, settings), rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(tpo, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(tpo, settings)


def three_tokens():
    """The unwanted tokens' logits are 1 and 3, the reference's 2 and 6; then the end token, of probability 1/4."""
    reference_z = torch.tensor([[2.0, 0, 0], [0, 6.0, 0], [0, 0, 0]])
    forget = by_hand(
        [[1.0, 0, 0], [0, 3.0, 0], [math.log(2), 0, 0]],
        [SENSITIVE, SENSITIVE, END],
        [0, 1, 2],
        reference_hidden=reference_z,
    )
    return forget, by_hand([[0.0, 0.0, 0.0]], [END], [1]), Head(torch.eye(3), None, torch.eye(3))


def test_three_tokens_worked_by_hand():
    forget, retain, head = three_tokens()
    settings = tpo.Settings(beta=0.5)
    assert units_of(tpo, settings, forget, retain) == {"forget": 1, "common": 1, "retain": 1}
    terms = terms_of(tpo, settings, head, forget, retain)
    # the logits fell by 1 and 3: beta times their mean is 1
    assert terms["forget"].item() == pytest.approx(1.2530468)  # 4 ln(1 + 1/e)
    assert terms["common"].item() == pytest.approx(1.3862944)  # ln 4
    assert terms["retain"].item() == pytest.approx(1.0986123)  # ln 3
    (terms["forget"] + terms["common"]).backward()
    # 2 (1 - sigma(1)) over two tokens, in the target's logit alone
    assert forget.hidden.grad[0].tolist() == pytest.approx([0.2689414, 0, 0])
    assert forget.hidden.grad[1].tolist() == pytest.approx([0, 0.2689414, 0])
    assert forget.hidden.grad[2].tolist() == pytest.approx([0.5, 0.25, -0.75])


def rows_without_unwanted_tokens(count):
    found = positions([[COMMON, END]] * count, torch.zeros(2 * count, dtype=torch.int64))
    z = torch.zeros(2 * count, 3)
    return ReplyStates(**vars(found), hidden=z.clone().requires_grad_(), reference_hidden=z)


def test_a_row_without_an_unwanted_token_is_no_unit_of_the_forget_term():
    forget, settings = rows_without_unwanted_tokens(2), tpo.Settings()
    retain, head = empty(forget), Head(torch.eye(3), None, torch.eye(3))
    assert units_of(tpo, settings, forget, retain) == {"forget": 0, "common": 2, "retain": 0}
    terms = terms_of(tpo, settings, head, forget, retain)
    assert terms["forget"].item() == terms["retain"].item() == 0
    assert terms["common"].item() == pytest.approx(4 * math.log(3))
    sum(terms.values()).backward()
    assert forget.hidden.grad.isfinite().all()


def test_no_row_at_all_gives_zero():
    forget, settings = empty(rows_without_unwanted_tokens(1)), tpo.Settings()
    assert units_of(tpo, settings, forget, forget) == {"forget": 0, "common": 0, "retain": 0}
    head = Head(torch.eye(3), None, torch.eye(3))
    assert [term.item() for term in terms_of(tpo, settings, head, forget, forget).values()] == [0, 0, 0]


def test_a_logit_far_below_the_references_gets_no_gradient():
    forget = by_hand([[-1e4, 0.0]], [SENSITIVE], [0], reference_hidden=torch.tensor([[1e4, 0.0]]))
    head = Head(torch.eye(2), None, torch.eye(2))
    term = terms_of(tpo, tpo.Settings(), head, forget, empty(forget))["forget"]
    term.backward()
    assert term.item() == 0
    assert not forget.hidden.grad.any()


def test_it_needs_a_tagger_and_the_references_states():
    assert tpo.Settings.localized
    assert tpo.Settings().needs == {"states"}


@pytest.mark.parametrize(("key", "value"), [("beta", 0), ("common_weight", -1), ("alpha", 1)])
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        tpo.Settings.parse({key: value}, "methods.tpo")
