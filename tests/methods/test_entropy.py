"""The weights of tokens by entropy, on their own; what the methods do with them is in the methods' tests."""

import math

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head, operations
from palu.methods import etw, ga, npo, palu
from palu.methods.entropy import token_weights, weighted_log_prob_sum
from palu.roles import COMMON, END
from tests.methods import plain
from tests.methods.oracle import HEADS, by_hand, empty

OFFERED_BY = pytest.mark.parametrize("method", [ga, npo, palu], ids=lambda method: method.__name__)
IDENTITY = Head(torch.eye(3))


def weights_of(logits, rows=None, temperature=1.0, head=IDENTITY):
    row = torch.tensor(rows or [0] * len(logits))
    return token_weights(head, torch.tensor(logits), row, int(row.max()) + 1, temperature)


@pytest.mark.parametrize("head_class", HEADS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_weights_are_the_papers_equation(problem, temperature, head_class):
    forget = problem.forget
    found = token_weights(problem.head(head_class), forget.hidden, forget.row, forget.row_count, temperature)
    assert found.tolist() == pytest.approx(plain.entropy_weights(problem, forget, temperature), rel=1e-12)


def test_the_weights_of_three_tokens_worked_by_hand():
    # entropies ln 3, 0 and 3/2 ln 2
    weights = weights_of([[0.0, 0, 0], [1000.0, 0, 0], [math.log(2), 0, 0]])
    total = math.log(3) + 1.5 * math.log(2)
    assert weights.tolist() == pytest.approx([3 * math.log(3) / total, 0, 4.5 * math.log(2) / total])
    # at half the temperature ln 2 counts twice: p = 2/3, 1/6, 1/6 and the entropy is 2/3 ln 3/2 + 1/3 ln 6
    weights = weights_of([[0.0, 0, 0], [math.log(2), 0, 0]], temperature=0.5)
    assert weights.tolist() == pytest.approx([1.1175119, 0.8824881])


def test_the_weights_of_each_reply_average_to_one(problem):
    forget = problem.forget
    weights = token_weights(problem.head(), forget.hidden, forget.row, forget.row_count, 1.0)
    sums = torch.zeros(forget.row_count, dtype=weights.dtype).index_add(0, forget.row, weights)
    assert sums.tolist() == pytest.approx(forget.row.bincount().tolist())
    assert weights.std() > 0.1


def test_a_high_temperature_makes_the_weights_equal(problem):
    forget = problem.forget
    weights = token_weights(problem.head(), forget.hidden, forget.row, forget.row_count, 1e4)
    assert weights.tolist() == pytest.approx([1.0] * len(weights), abs=1e-6)


@pytest.mark.parametrize("gap", [90.0, 1e3, 1e30])
def test_a_reply_without_entropy_has_weights_of_one(gap):
    # a gap of 90 leaves an entropy of about 1e-37, too small for float32 to divide by
    weights = weights_of([[gap, 0, 0], [0.0, gap, 0], [0.0, 0, 0], [1.0, 0, 0]], rows=[0, 0, 1, 1])
    assert weights[:2].tolist() == [1, 1]
    assert weights[2] > 1 > weights[3]


def test_a_temperature_near_zero_gives_no_nan():
    assert weights_of([[1.0, 0, 0], [0.0, 2.0, 0]], temperature=1e-38).tolist() == [1, 1]


def test_no_gradient_flows_through_the_weights(problem):
    hidden = problem.forget.hidden.clone().requires_grad_()
    weight = problem.weight.clone().requires_grad_()
    row, row_count = problem.forget.row, problem.forget.row_count
    for head in (Head(weight, problem.bias), Head(weight.float(), None)):
        assert not token_weights(head, hidden, row, row_count, 1.0).requires_grad


def test_no_token_has_no_weight(problem):
    none = empty(problem.forget)
    assert token_weights(problem.head(), none.hidden, none.row, 0, 1.0).tolist() == []
    # rows whose tokens are all left out, as in PALU's replies without a sensitive token
    assert token_weights(problem.head(), none.hidden, none.row, 3, 1.0).tolist() == []


def test_the_weighted_sum_asks_for_its_gradients_beforehand(monkeypatch):
    passes, log_prob = [], operations.log_prob

    def counted(*arguments):
        passes.append(arguments)
        return log_prob(*arguments)

    monkeypatch.setattr(operations, "log_prob", counted)
    states = by_hand([[0.0, 0, 0], [1.0, 0, 0]], [COMMON, END], [0, 1])
    head = Head(torch.eye(3).requires_grad_())
    (0.7 * weighted_log_prob_sum(states, head, 1.0, scale=0.7)).backward()
    assert len(passes) == 1


@OFFERED_BY
def test_without_the_option_no_entropy_is_computed(problem, method, monkeypatch):
    monkeypatch.setattr(Head, "entropy", None)
    problem.loss(method, method.Settings())
    with pytest.raises(TypeError):
        problem.loss(method, method.Settings(entropy_weighting=True))


@OFFERED_BY
def test_equal_entropies_leave_the_loss_as_it_is(problem, method):
    plain_loss = problem.loss(method, method.Settings()).item()
    settings = method.Settings(entropy_weighting=True, entropy_temperature=1e6)
    assert problem.loss(method, settings).item() == pytest.approx(plain_loss, rel=1e-9)
    assert problem.loss(method, method.Settings(entropy_weighting=True)).item() != pytest.approx(plain_loss, rel=1e-3)


@OFFERED_BY
def test_a_temperature_of_zero_is_refused_by_name(method):
    with pytest.raises(UserError, match="entropy_temperature: 0"):
        method.Settings.parse({"entropy_temperature": 0}, "methods.x")
    with pytest.raises(UserError, match="temperature: -1"):
        etw.Settings.parse({"temperature": -1}, "methods.etw")
