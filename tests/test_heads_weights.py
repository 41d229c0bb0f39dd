"""Weights told beforehand: the gradients come with the values, once, and a wrong weight costs time but no digit."""

import pytest
import torch

from palu.heads import Head
from palu.heads.projection import Projection
from tests.dense_head import DenseHead
from tests.test_heads import OPERATIONS, WEIGHTED, D, Inputs, given, row_weights, value_and_gradients

every_weighted = pytest.mark.parametrize("name", WEIGHTED)


@pytest.fixture
def products(monkeypatch):
    """The number of (c, V) products that were computed so far, the reference's included."""
    made = []
    product = Projection.logits

    def counted(self, h):
        made.append(len(h))
        return product(self, h)

    monkeypatch.setattr(Projection, "logits", counted)
    return made


def leaves(inputs):
    return [tensor.clone().requires_grad_() for tensor in (inputs.h, inputs.weight, inputs.bias)]


def per_block(name):
    """Products for a block of positions: one of the policy, and one of the reference for what is beside it."""
    return 1 if name in {"log_prob", "cross_entropy_without"} else 2


def head_on(inputs, weight, bias, **options):
    return Head(weight, bias, *inputs.reference(), **{"chunk_rows": 3} | options)


def with_weight(name, weight):
    """An operation that is told `weight`."""
    return {
        "log_prob": lambda head, h, x: head.log_prob(h, x.target_ids, weight),
        "kl_policy_reference": lambda head, h, x: head.kl(h, x.reference_h, "policy_reference", weight),
        "kl_reference_policy": lambda head, h, x: head.kl(h, x.reference_h, "reference_policy", weight),
        "cross_entropy_to_reference": lambda head, h, x: head.cross_entropy_to_reference(
            h, x.reference_h, x.target_ids, 3.0, weight
        ),
        "cross_entropy_without": lambda head, h, x: head.cross_entropy_without(h, x.target_ids, weight),
    }[name]


@every_weighted
def test_a_right_weight_changes_no_value_and_no_gradient(name):
    inputs = Inputs(torch.float64)
    plain, told = (
        value_and_gradients(Head, operations[name], inputs, chunk_rows=3) for operations in (OPERATIONS, WEIGHTED)
    )
    assert torch.equal(told[0], plain[0])
    for ours, theirs in zip(told[1:], plain[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@every_weighted
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_with_a_right_weight_nothing_is_computed_in_the_backward_pass(name, dtype, products):
    inputs = Inputs(dtype)
    for operations, again in ((WEIGHTED, False), (OPERATIONS, True)):
        h, weight, bias = leaves(inputs)
        products.clear()
        value = operations[name](head_on(inputs, weight, bias), h, inputs)
        # 7 positions in blocks of 3; one of them has the weight 0, and is left out where it can be
        assert len(products) == 3 * per_block(name)
        (value * row_weights(value)).sum().backward()
        assert len(products) == (3 + 2 * again) * per_block(name)


@every_weighted
def test_one_number_stands_for_all_rows(name, products):
    inputs = Inputs(torch.float32)
    h, weight, bias = leaves(inputs)
    value = with_weight(name, -0.3)(head_on(inputs, weight, bias), h, inputs)
    forward = len(products)
    # as a training's loss is made: the sum, times a number of Python
    (-0.3 * value.sum()).backward()
    assert len(products) == forward
    dense = leaves(inputs)
    (-0.3 * OPERATIONS[name](DenseHead(dense[1], dense[2], *inputs.reference()), dense[0], inputs).sum()).backward()
    for ours, theirs in zip((h, weight, bias), dense, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@every_weighted
@pytest.mark.parametrize("case", [7.0, 0.0, -1e-3, "some rows"])
def test_a_wrong_weight_changes_no_gradient(name, case, products):
    inputs = Inputs(torch.float64)
    expected = value_and_gradients(DenseHead, OPERATIONS[name], inputs)
    wrong = case
    if case == "some rows":
        wrong = given(inputs).clone()
        wrong[4:6] += 1
    products.clear()
    found = value_and_gradients(Head, with_weight(name, wrong), inputs, chunk_rows=3)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    # only rows whose gradient is another than told are computed anew: 2 of 7, all of them, or those with a gradient
    anew = {"some rows": 1, 0.0: 2}.get(case, 3)
    assert len(products) == (3 + anew) * per_block(name)


@every_weighted
def test_states_alone_or_the_weight_alone_get_their_gradients(name):
    inputs = Inputs(torch.float64)
    expected = value_and_gradients(DenseHead, OPERATIONS[name], inputs)[1:]
    for wanted in ([0], [1, 2], [0, 1, 2]):
        tensors = [tensor.detach().requires_grad_(i in wanted) for i, tensor in enumerate(leaves(inputs))]
        h, weight, bias = tensors
        value = WEIGHTED[name](head_on(inputs, weight, bias), h, inputs)
        (value * row_weights(value)).sum().backward()
        for i, tensor in enumerate(tensors):
            if i in wanted:
                torch.testing.assert_close(tensor.grad, expected[i], rtol=1e-12, atol=1e-12)
            else:
                assert tensor.grad is None


def test_nothing_is_computed_beforehand_where_no_gradient_is_wanted():
    inputs = Inputs(torch.float32)
    head = Head(inputs.weight, inputs.bias, *inputs.reference())
    value = head.log_prob(inputs.h, inputs.target_ids, given(inputs))
    assert not value.requires_grad
    assert head._projection._weight_gradient is None
    with torch.no_grad():
        head = Head(inputs.weight.requires_grad_(), None)
        head.log_prob(inputs.h, inputs.target_ids, 1.0)
    assert head._projection._weight_gradient is None


def two_sums(inputs, h, weight, bias):
    head = head_on(inputs, weight, bias)
    return head.log_prob(h, inputs.target_ids, 2.0).sum(), head.cross_entropy_without(h, inputs.target_ids, 3.0).sum()


def test_several_told_sums_on_one_head_add_their_gradients(products):
    inputs = Inputs(torch.float64)
    told = leaves(inputs)
    first, second = two_sums(inputs, *told)
    forward = len(products)
    (2 * first + 3 * second).backward()
    assert len(products) == forward
    dense = leaves(inputs)
    head = DenseHead(dense[1], dense[2])
    first, second = head.log_prob(dense[0], inputs.target_ids), head.cross_entropy_without(dense[0], inputs.target_ids)
    (2 * first.sum() + 3 * second.sum()).backward()
    for ours, theirs in zip(told, dense, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_a_backward_pass_that_leaves_out_a_told_sum_is_an_error_where_the_weights_gradient_is_wanted():
    inputs = Inputs(torch.float64)
    first, _ = two_sums(inputs, *leaves(inputs))
    with pytest.raises(RuntimeError, match="reached 1 of the 2 sums of this head whose weights were given"):
        (2 * first).backward()


def test_it_is_none_where_only_the_states_gradient_is_wanted():
    inputs = Inputs(torch.float64)
    h, weight, bias = leaves(inputs)
    first, _ = two_sums(inputs, h, weight, bias)
    (found,) = torch.autograd.grad(2 * first, h)
    dense_h, dense_weight, dense_bias = leaves(inputs)
    value = DenseHead(dense_weight, dense_bias).log_prob(dense_h, inputs.target_ids)
    (expected,) = torch.autograd.grad(2 * value.sum(), dense_h)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@every_weighted
@pytest.mark.parametrize("passes", [2, 3])
def test_a_second_backward_pass_gives_the_same_gradients_again(name, passes):
    inputs = Inputs(torch.float64)
    h, weight, bias = leaves(inputs)
    value = WEIGHTED[name](head_on(inputs, weight, bias), h, inputs)
    loss = (value * row_weights(value)).sum()
    for index in range(passes):
        loss.backward(retain_graph=index + 1 < passes)
    expected = value_and_gradients(DenseHead, OPERATIONS[name], inputs)[1:]
    for tensor, gradient in zip((h, weight, bias), expected, strict=True):
        torch.testing.assert_close(tensor.grad, passes * gradient, rtol=1e-12, atol=1e-12)


def test_a_second_pass_may_leave_out_a_told_sum():
    inputs = Inputs(torch.float64)
    tensors = leaves(inputs)
    first, second = two_sums(inputs, *tensors)
    (2 * first + 3 * second).backward(retain_graph=True)
    for tensor in tensors:
        tensor.grad = None
    (2 * first).backward()
    dense = leaves(inputs)
    (2 * DenseHead(dense[1], dense[2]).log_prob(dense[0], inputs.target_ids).sum()).backward()
    for ours, theirs in zip(tensors, dense, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_a_first_pass_for_the_states_alone_spoils_no_later_pass():
    inputs = Inputs(torch.float64)
    h, weight, bias = leaves(inputs)
    value = WEIGHTED["log_prob"](head_on(inputs, weight, bias), h, inputs)
    loss = (value * row_weights(value)).sum()
    torch.autograd.grad(loss, h, retain_graph=True)
    loss.backward()
    for tensor, gradient in zip(
        (h, weight, bias), value_and_gradients(DenseHead, OPERATIONS["log_prob"], inputs)[1:], strict=True
    ):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-12, atol=1e-12)


def test_no_row_needs_no_weight():
    inputs = Inputs(torch.float32, positions=0)
    h, weight, bias = leaves(inputs)
    value = Head(weight, bias).log_prob(h, inputs.target_ids, 0.5).sum()
    (0.5 * value).backward()
    assert (value.item(), h.grad.shape) == (0, (0, D))
    assert not weight.grad.any()


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("weight_given", [1.0, None])
def test_adding_to_grad_gives_the_gradients_that_autograd_would_add_up(biased, weight_given):
    inputs = Inputs(torch.float64)
    found = {}
    for adds_to_grad in (True, False):
        _, weight, bias = leaves(inputs)
        for scale in (1.0, 2.0, -0.5):
            # tied: the states come from the same weight, by another way
            h = scale * weight[:7].tanh()
            head = Head(weight, bias if biased else None, chunk_rows=3, adds_to_grad=adds_to_grad)
            head.log_prob(h, inputs.target_ids, weight_given).sum().backward()
        found[adds_to_grad] = [weight.grad, bias.grad]
    assert found[True][0].any()
    torch.testing.assert_close(found[True], found[False], rtol=1e-12, atol=1e-12)


def test_a_second_step_adds_to_the_same_memory():
    inputs = Inputs(torch.float32)
    h, weight, _ = leaves(inputs)
    places = []
    for _ in range(2):
        Head(weight, adds_to_grad=True).log_prob(h, inputs.target_ids, 1.0).sum().backward()
        places.append(weight.grad.data_ptr())
    assert places[0] == places[1]
    torch.testing.assert_close(weight.grad, 2 * torch.autograd.grad(dense_sum(h, weight, inputs), weight)[0])


def dense_sum(h, weight, inputs):
    return DenseHead(weight).log_prob(h, inputs.target_ids).sum()
