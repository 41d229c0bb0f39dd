"""UNDIAL against its equation, finite differences, other cuts of the step, a case by hand, and the peer's code."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import pad

from palu import models
from palu.errors import UserError
from palu.heads import ChunkedHead
from palu.methods import undial
from palu.methods.base import Replies, ReplyStates
from palu.roles import COMMON, END, PADDING, PROMPT, SENSITIVE
from tests.methods.oracle import HEADS, PeerBatch, by_hand, empty, printed, terms_of, units_of
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
    return forget, by_hand([[0.0, 0.0, 0.0]], [END], [1]), ChunkedHead(torch.eye(3), None, torch.eye(3))


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
    terms = terms_of(undial, undial.Settings(), ChunkedHead(torch.eye(2), None, torch.eye(2)), forget, empty(forget))
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0]
    assert not forget.hidden.grad.any()


def padded(roles, size):
    """Lines of `size` logits of 0, of any roles, all with the target 1."""
    count = sum(len(line) for line in roles)
    return ReplyStates(
        target_ids=torch.ones(count, dtype=torch.int64),
        role=torch.tensor([role for line in roles for role in line], dtype=torch.int8),
        span_offset=torch.full((count,), -1, dtype=torch.int16),
        row=torch.tensor([i for i, line in enumerate(roles) for _ in line]),
        row_count=len(roles),
        hidden=torch.zeros(count, size, requires_grad=True),
        reference_hidden=torch.zeros(count, size),
    )


def test_the_peer_lowers_the_hundredth_token_from_the_end_where_it_has_no_label():
    size, head = 103, ChunkedHead(torch.eye(103), None, torch.eye(103))
    forget = padded([[PROMPT, COMMON, PADDING], [COMMON, END, PADDING]], size)
    retain = padded([[PROMPT, COMMON, END, PADDING]], size)
    settings = undial.Settings(beta=50, peer=True)
    assert units_of(undial, settings, forget, retain) == {"forget": 4, "retain": 2}
    terms = terms_of(undial, settings, head, forget, retain)
    assert terms["forget"].item() == pytest.approx(4 * math.log(size), rel=1e-6)
    assert terms["retain"].item() == pytest.approx(2 * math.log(size), rel=1e-6)
    sum(terms.values()).backward()
    lowered = forget.hidden.grad.argmax(-1).tolist()
    assert [t for t in range(6) if forget.hidden.grad[t].any()] == [0, 1, 3, 4]
    assert [lowered[t] for t in (0, 1, 3, 4)] == [3, 1, 1, 1]
    assert retain.hidden.grad.any(-1).tolist() == [False, True, True, False]


def test_the_peers_way_takes_no_row_at_all():
    none = empty(padded([[END, PADDING]], 103))
    settings, head = undial.Settings(peer=True), ChunkedHead(torch.eye(103), None, torch.eye(103))
    assert units_of(undial, settings, none, none) == {"forget": 0, "retain": 0}
    assert [term.item() for term in terms_of(undial, settings, head, none, none).values()] == [0, 0]


def test_only_the_peers_way_wants_prompt_and_padding():
    assert not undial.Settings().for_parity_only
    assert undial.Settings(peer=True).for_parity_only
    assert undial.Settings().needs == {"states"}


@pytest.mark.parametrize(("key", "value"), [("beta", 0), ("retain_weight", -1), ("alpha", 1)])
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        undial.Settings.parse({key: value}, "methods.undial")


def every_position(policy, reference, tensors, name):
    """All positions of a padded part of the peer's batch."""
    input_ids, labels = tensors[f"{name}.input_ids"], tensors[f"{name}.labels"]
    mask = tensors[f"{name}.attention_mask"]
    hidden, reference_hidden = (
        model.model(input_ids=input_ids, attention_mask=mask).last_hidden_state.flatten(0, 1)
        for model in (policy, reference)
    )
    unlabelled = torch.where(pad(mask[:, 1:], (0, 1)) == 1, PROMPT, PADDING)
    role = torch.where(pad(labels[:, 1:], (0, 1), value=-100) != -100, COMMON, unlabelled).flatten()
    return ReplyStates(
        target_ids=input_ids.roll(-1, 1).flatten(),
        role=role.to(torch.int8),
        span_offset=torch.full_like(role, -1),
        row=torch.arange(len(input_ids)).repeat_interleave(input_ids.shape[1]),
        row_count=len(input_ids),
        hidden=hidden,
        reference_hidden=reference_hidden.detach(),
    )


def test_the_peers_numbers_are_reproduced(shared):
    oracles = shared / "oracles"
    tensors = load_file(oracles / "loss-parity" / "policy-full" / "batch.safetensors")
    policy, reference = (
        models.load_model(oracles / "tofu-eval-tiny" / f"model-{name}") for name in ("full", "retain")
    )
    forget, retain = (every_position(policy, reference, tensors, name) for name in ("forget", "retain"))
    peers = PeerBatch(policy, Replies(forget, retain, empty(retain)), reference.lm_head.weight.detach())
    facts = printed(shared, "full", "losses_ou.json")["undial"]
    settings = undial.Settings(retain_weight=1.0, peer=True)
    assert settings.beta == facts["settings"]["beta"]
    for head_class in HEADS:
        peers.matches(undial, settings, head_class, facts)
