"""PALU against its equation, finite differences, other cuts of the step, a case by hand, and the authors' code."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import palu
from palu.methods.base import Replies
from palu.roles import COMMON, END, SENSITIVE
from tests.methods import plain
from tests.methods.oracle import (
    FORGET_ROLES,
    HEADS,
    PeerBatch,
    as_asked,
    by_hand,
    empty,
    peer_batch,
    printed,
    terms_of,
    units_of,
)

SWITCHES = [
    {},
    {"first_n": None},
    {"first_n": 1, "top_k": 2},
    {"target": "topk_mean"},
    {"target": "uniform", "local_weight": 0.25},
    {"target": "zero", "common_weight": 3.0},
    {"kl_direction": "reference_policy", "retain_weight": 2.0},
    {"common_constraint": "nll"},
    {"common_constraint": "none"},
]
every_switch = pytest.mark.parametrize("switches", SWITCHES, ids=str)


def settings_of(switches):
    return palu.Settings.parse({"top_k": 4, **switches}, "test")


def plain_loops(problem, settings):
    """The equation of the paper, one float at a time."""
    forget, retain = problem.forget, problem.retain

    def logits(h, weight, bias):
        return [
            sum(w * x for w, x in zip(row, h, strict=True)) + b
            for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]

    def log_softmax(z):
        normalizer = math.log(sum(math.exp(value) for value in z))
        return [value - normalizer for value in z]

    local, common = [], []
    sensitive_rank = -1
    for t, role in enumerate(forget.role.tolist()):
        z = logits(forget.hidden[t].tolist(), problem.weight, problem.bias)
        sensitive_rank += role == SENSITIVE
        if role == SENSITIVE and (settings.first_n is None or forget.span_offset[t] < settings.first_n):
            best = forget.reference_top_k[sensitive_rank].tolist()[: settings.top_k]
            c = {
                "global_mean": sum(z) / len(z),
                "topk_mean": sum(z[k] for k in best) / len(best),
                "uniform": math.log(sum(math.exp(value) for value in z)) - math.log(len(z)),
                "zero": 0.0,
            }[settings.target]
            local.append(sum((z[k] - c) ** 2 for k in best) / len(best))
        elif role in (COMMON, END):
            log_p = log_softmax(z)
            reference_z = logits(forget.reference_hidden[t].tolist(), problem.reference_weight, problem.reference_bias)
            log_q = log_softmax(reference_z)
            if settings.common_constraint == "nll":
                common.append(-log_p[reference_z.index(max(reference_z))])
            elif settings.kl_direction == "policy_reference":
                common.append(sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True)))
            else:
                common.append(sum(math.exp(q) * (q - p) for p, q in zip(log_p, log_q, strict=True)))
    nll = [
        -log_softmax(logits(h, problem.weight, problem.bias))[y]
        for h, y in zip(retain.hidden.tolist(), retain.target_ids.tolist(), strict=True)
    ]
    loss = settings.local_weight * sum(local) / len(local) + settings.retain_weight * sum(nll) / len(nll)
    if settings.common_constraint != "none":
        loss += settings.common_weight * sum(common) / len(common)
    return loss


@every_switch
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, switches, head_class):
    settings = settings_of(switches)
    assert problem.loss(palu, settings, head_class).item() == pytest.approx(plain_loops(problem, settings), rel=1e-12)


@every_switch
def test_gradients_are_those_of_finite_differences(problem, switches):
    assert problem.gradients_hold(palu, settings_of(switches))


@every_switch
def test_padding_and_micro_batches_change_nothing(small_world, switches):
    small_world.cuts_agree(palu, settings_of(switches))


def three_tokens():
    """z = (3, 0, 0) at a sensitive token; a common token; the end token, where policy and reference agree."""
    reference_z = [[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0], [1.0, 2.0, 3.0]]
    forget = by_hand(
        [[3.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]],
        [SENSITIVE, COMMON, END],
        [0, 1, 2],
        reference_hidden=torch.tensor(reference_z),
        reference_top_k=torch.tensor([[0, 1]]),
    )
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    return forget, retain, Head(torch.eye(3), None, torch.eye(3))


def test_three_tokens_worked_by_hand():
    forget, retain, head = three_tokens()
    settings = settings_of({"top_k": 2})
    assert units_of(palu, settings, forget, retain) == {"local": 1, "common": 2, "retain": 1}
    terms = terms_of(palu, settings, head, forget, retain)
    # c = 1: ((3 - 1)^2 + (0 - 1)^2) / 2
    assert terms["local"].item() == pytest.approx(2.5)
    # 1/3 ln(1/3 / 1/2) + 2/3 ln(1/3 / 1/4), and 0 at the end token
    assert terms["common"].item() == pytest.approx(0.0566330, abs=1e-6)
    assert terms["retain"].item() == pytest.approx(1.0986123, abs=1e-6)


@pytest.mark.parametrize(("detach_target", "gradient"), [(False, [5 / 3, -4 / 3, -1 / 3]), (True, [2.0, -1.0, 0.0])])
def test_the_target_passes_gradient_on_unless_it_is_detached(detach_target, gradient):
    forget, retain, head = three_tokens()
    terms_of(palu, settings_of({"top_k": 2, "detach_target": detach_target}), head, forget, retain)["local"].backward()
    assert forget.hidden.grad[0].tolist() == pytest.approx(gradient)
    assert not forget.hidden.grad[1:].any()


WEIGHTED = [{"entropy_weighting": True}, {"entropy_weighting": True, "entropy_temperature": 0.7, "first_n": None}]
every_weighting = pytest.mark.parametrize("switches", WEIGHTED, ids=str)


@every_weighting
@pytest.mark.parametrize("head_class", HEADS)
def test_entropy_weights_multiply_the_local_loss_of_each_initiating_token(problem, switches, head_class):
    settings = settings_of(switches)
    forget = problem.forget
    chosen = palu.initiating(forget, settings.first_n).nonzero()[:, 0].tolist()
    weights = plain.entropy_weights(problem, forget, settings.entropy_temperature, chosen)
    asked = as_asked(settings, Replies(forget, problem.retain, problem.alternate)).forget
    local = palu.local_loss(asked, problem.head(), settings_of({**switches, "entropy_weighting": False})).tolist()
    expected = sum(w * value for w, value in zip(weights, local, strict=True))
    terms = terms_of(palu, settings, problem.head(head_class), forget, problem.retain)
    assert terms["local"].item() == pytest.approx(expected, rel=1e-12)
    assert terms["local"].item() != pytest.approx(sum(local), rel=1e-3)
    assert units_of(palu, settings, forget, problem.retain)["local"] == len(local)
    others = terms_of(palu, settings_of({}), problem.head(head_class), forget, problem.retain)
    assert [terms[name].item() for name in ("common", "retain")] == [others[n].item() for n in ("common", "retain")]


@every_weighting
def test_with_entropy_weights_held_gradients_are_those_of_finite_differences(problem, switches, monkeypatch):
    settings = settings_of(switches)
    plain.hold_weights(monkeypatch, palu, lambda: problem.loss(palu, settings))
    assert problem.gradients_hold(palu, settings)


@every_weighting
def test_with_entropy_weights_too_padding_and_micro_batches_change_nothing(small_world, switches):
    small_world.cuts_agree(palu, settings_of(switches))


def test_two_weighted_tokens_worked_by_hand():
    # z = (ln 2, 0, 0) and (0, 0, 0) have entropies 3/2 ln 2 and ln 3; the common token between them has no weight
    two = math.log(2)
    forget = by_hand(
        [[two, 0.0, 0.0], [9.0, 9.0, 9.0], [0.0, 0.0, 0.0], [0.0, 0.0, 5.0]],
        [SENSITIVE, COMMON, SENSITIVE, END],
        [0, 1, 0, 2],
        reference_top_k=torch.tensor([[0, 1], [0, 1]]),
    )
    retain = by_hand([[0.0, 0.0, 0.0]], [END], [1])
    settings = settings_of({"entropy_weighting": True, "common_constraint": "none", "top_k": 1, "target": "zero"})
    local = terms_of(palu, settings, Head(torch.eye(3)), forget, retain)["local"]
    weight = 2 * 1.5 * two / (1.5 * two + math.log(3))
    assert local.item() == pytest.approx(weight * two**2)
    local.backward()
    assert forget.hidden.grad[0].tolist() == pytest.approx([2 * weight * two, 0, 0])


def test_units_count_the_tokens_of_each_term(problem):
    runs = [4, 1, 2, 1]  # lengths of the runs in FORGET_ROLES
    assert sum(row.count(SENSITIVE) for row in FORGET_ROLES) == sum(runs)
    for first_n, local in ((1, 4), (2, 6), (3, 7), (4, 8), (None, 8)):
        units = units_of(palu, settings_of({"first_n": first_n}), problem.forget, problem.retain)
        assert units == {"local": local, "common": 7, "retain": 5}
    assert "common" not in units_of(palu, settings_of({"common_constraint": "none"}), problem.forget, problem.retain)


def test_sensitive_tokens_past_n_get_no_loss(problem):
    hidden = problem.forget.hidden.clone().requires_grad_()
    changed = replace(problem, forget=replace(problem.forget, hidden=hidden))
    changed.loss(palu, settings_of({"first_n": 2})).backward()
    past = (problem.forget.role == SENSITIVE) & (problem.forget.span_offset >= 2)
    assert past.tolist().index(True) == 3
    assert torch.equal(hidden.grad.abs().sum(-1) == 0, past)


@pytest.mark.parametrize("target", ["global_mean", "topk_mean", "uniform", "zero"])
def test_a_batch_without_initiating_tokens_gives_zero_with_a_gradient(problem, target):
    weight = problem.weight.clone().requires_grad_()
    without = replace(problem, forget=empty(problem.forget), retain=empty(problem.retain), weight=weight)
    settings = settings_of({"target": target})
    assert units_of(palu, settings, without.forget, without.retain) == {"local": 0, "common": 0, "retain": 0}
    terms = terms_of(palu, settings, without.head(), without.forget, without.retain)
    assert [term.item() for term in terms.values()] == [0, 0, 0]
    sum(terms.values()).backward()
    assert not weight.grad.any()


def test_top_k_beyond_the_vocabulary_is_the_vocabulary(problem):
    top_k = problem.forget.reference_top_k.shape[1]
    losses = [problem.loss(palu, settings_of({"top_k": k})).item() for k in (top_k, 5000)]
    assert losses[0] == losses[1]


def test_what_is_read_of_the_reference_follows_from_the_constraint():
    assert settings_of({}).needs == {"top_k", "states"}
    assert settings_of({"common_constraint": "nll"}).needs == {"top_k", "states"}
    assert settings_of({"common_constraint": "none"}).needs == {"top_k"}


@pytest.mark.parametrize(
    ("key", "value"), [("first_n", 0), ("top_k", 0), ("target", "median"), ("local_weight", -1), ("alpha", -1)]
)
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        palu.Settings.parse({key: value}, "methods.palu")


@pytest.mark.parametrize("alpha", [0.2, 5, "5e-1"])
def test_alpha_is_both_weights_and_leaves_no_trace_of_its_own(alpha):
    weight = float(alpha)
    given = settings_of({"alpha": alpha})
    assert given.weights == {"local": 1.0, "common": weight, "retain": weight}
    assert given.model_dump() == settings_of({"common_weight": weight, "retain_weight": weight}).model_dump()
    assert settings_of({"alpha": None, "retain_weight": 2.0}).weights == {"local": 1.0, "common": 1.0, "retain": 2.0}


@pytest.mark.parametrize("key", ["common_weight", "retain_weight"])
def test_alpha_with_one_of_its_weights_is_refused(key):
    with pytest.raises(UserError, match=rf"methods.palu: .* has both alpha and {key}; allowed: alpha alone, or"):
        palu.Settings.parse({"alpha": 1.0, key: 1.0}, "methods.palu")


@pytest.fixture(scope="module")
def peers(shared) -> PeerBatch:
    return peer_batch(shared, "retain", "forget_tagged")


CASES = [f"palu_K{k}_N{n}_kl" for k in (1, 50, 500, 2048) for n in (1, 3, -1)] + ["palu_K500_N3_nll"]


@pytest.mark.parametrize("head_class", HEADS)
@pytest.mark.parametrize("case", CASES)
def test_the_authors_numbers_are_reproduced(shared, peers, case, head_class):
    facts = printed(shared, "retain", "losses_palu.json")[case]
    theirs = facts["settings"]
    settings = palu.Settings(
        first_n=None if theirs["num_sensitive_tokens"] == -1 else theirs["num_sensitive_tokens"],
        top_k=theirs["top_k"],
        common_constraint=theirs["non_sensitive_constraint_type"],
    )
    peers.matches(palu, settings, head_class, facts)


def test_every_case_that_the_authors_code_printed_is_tried(shared):
    assert set(CASES) == set(printed(shared, "retain", "losses_palu.json"))
