"""Head against DenseHead, against finite differences, and against its promise never to hold P x V numbers."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from palu.heads import Head, LogitTransform, autograd, projection
from tests.dense_head import DenseHead

P, D, V = 7, 4, 50  # V > GATHER_COST, so that one chosen logit is gathered and several are not


class Inputs:
    """States, heads and ids of one small problem."""

    def __init__(self, dtype: torch.dtype, positions: int = P, width: int = D, vocabulary: int = V) -> None:
        made = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=made, dtype=torch.float64).to(dtype)

        self.h, self.reference_h = normal(positions, width), normal(positions, width)
        self.weight, self.bias = normal(vocabulary, width), normal(vocabulary)
        self.reference_weight, self.reference_bias = normal(vocabulary, width), normal(vocabulary)
        self.target_ids = torch.randint(vocabulary, (positions,), generator=made)
        self.one_id = torch.randint(vocabulary, (positions, 1), generator=made)
        # with repetitions, inside a row too
        self.several_ids = torch.randint(6, (positions, 9), generator=made)

    def reference(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.reference_weight, self.reference_bias


def row_weights(values: torch.Tensor) -> torch.Tensor:
    """What `value_and_gradients` multiplies the values by, (P,) or (P, K)."""
    return torch.linspace(-1, 2, values.numel(), dtype=values.dtype).view(values.shape)


def given(x: Inputs) -> torch.Tensor:
    """The weights of P values, to be told beforehand."""
    return row_weights(x.target_ids.to(torch.float64 if x.h.dtype == torch.float64 else torch.float32))


OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "log_prob": lambda head, h, x: head.log_prob(h, x.target_ids),
    "logits_at_gathered": lambda head, h, x: head.logits_at(h, x.one_id),
    "logits_at_dense": lambda head, h, x: head.logits_at(h, x.several_ids),
    "mean_logit": lambda head, h, _: head.mean_logit(h),
    "log_normalizer": lambda head, h, _: head.log_normalizer(h),
    "entropy": lambda head, h, _: head.entropy(h),
    "entropy_at_a_temperature": lambda head, h, _: head.entropy(h, 2.5),
    "entropy_below_temperature_1": lambda head, h, _: head.entropy(h, temperature=0.4),
    "max_logit": lambda head, h, _: head.max_logit(h),
    "kl_policy_reference": lambda head, h, x: head.kl(h, x.reference_h, "policy_reference"),
    "kl_reference_policy": lambda head, h, x: head.kl(h, x.reference_h, "reference_policy"),
    "cross_entropy_to_reference": lambda head, h, x: head.cross_entropy_to_reference(
        h, x.reference_h, x.target_ids, 3.0
    ),
    "cross_entropy_without": lambda head, h, x: head.cross_entropy_without(h, x.target_ids),
}
# The same with the weights of their values told beforehand: those that `value_and_gradients` uses
WEIGHTED: dict[str, Callable[..., torch.Tensor]] = {
    "log_prob": lambda head, h, x: head.log_prob(h, x.target_ids, given(x)),
    "kl_policy_reference": lambda head, h, x: head.kl(h, x.reference_h, "policy_reference", given(x)),
    "kl_reference_policy": lambda head, h, x: head.kl(h, x.reference_h, "reference_policy", given(x)),
    "cross_entropy_to_reference": lambda head, h, x: head.cross_entropy_to_reference(
        h, x.reference_h, x.target_ids, 3.0, given(x)
    ),
    "cross_entropy_without": lambda head, h, x: head.cross_entropy_without(h, x.target_ids, given(x)),
}
OPERATIONS |= {f"{name}_weighted": operation for name, operation in WEIGHTED.items()}
every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def value_and_gradients(head_class, operation, inputs, **options):
    """The operation's values, and the gradients of a weighted sum of them in the states, the weight and the bias."""
    h, weight, bias = (tensor.clone().requires_grad_() for tensor in (inputs.h, inputs.weight, inputs.bias))
    value = operation(head_class(weight, bias, *inputs.reference(), **options), h, inputs)
    (value * row_weights(value)).sum().backward()
    return value.detach(), h.grad, weight.grad, bias.grad


@every_operation
@pytest.mark.parametrize("chunk_rows", [1, 3, 100])
def test_chunked_values_and_gradients_are_the_dense_ones(operation, chunk_rows):
    inputs = Inputs(torch.float64)
    expected = value_and_gradients(DenseHead, operation, inputs)
    found = value_and_gradients(Head, operation, inputs, chunk_rows=chunk_rows)
    for ours, dense in zip(found, expected, strict=True):
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, dense, rtol=1e-12, atol=1e-12)


# what it is compared with is held constant while its gradient is taken
DIFFERENTIABLE = {name: operation for name, operation in OPERATIONS.items() if "cross_entropy_without" not in name}


TRANSFORMS = [LogitTransform(), LogitTransform(0.25), LogitTransform(1.0, 3.0), LogitTransform(0.5, 2.0)]
every_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=str)


@every_transform
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_values_are_those_of_transformed_logits(operation, transform):
    inputs = Inputs(torch.float64)
    chunked = Head(inputs.weight, inputs.bias, *inputs.reference(), chunk_rows=2, transform=transform)
    dense = DenseHead(inputs.weight, inputs.bias, *inputs.reference(), transform=transform)
    torch.testing.assert_close(operation(chunked, inputs.h, inputs), operation(dense, inputs.h, inputs))


def test_a_soft_cap_is_cap_tanh_of_scale_z_over_cap():
    z = torch.tensor([-1.0, 0.0, 4.0], dtype=torch.float64)
    expected = torch.tensor([2 * math.tanh(0.5 * value / 2) for value in z.tolist()], dtype=torch.float64)
    transform = LogitTransform(0.5, 2.0)
    torch.testing.assert_close(transform(z), expected)
    torch.testing.assert_close(transform.apply_(z.clone()), expected)
    head = DenseHead(torch.ones(2, 1, dtype=torch.float64), transform=transform)
    torch.testing.assert_close(head.mean_logit(z[:, None]), expected)


@pytest.mark.parametrize("operation", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE)
@pytest.mark.parametrize(
    ("biased", "transform"),
    [(True, LogitTransform()), (False, LogitTransform()), (True, LogitTransform(0.5, 2.0))],
    ids=["biased", "unbiased", "capped"],
)
def test_gradients_are_those_of_finite_differences(operation, biased, transform):
    inputs = Inputs(torch.float64, positions=3)

    def function(h, weight, bias):
        own = bias if biased else None
        head = Head(weight, own, *inputs.reference(), chunk_rows=2, transform=transform)
        return operation(head, h, inputs)

    parameters = tuple(tensor.requires_grad_() for tensor in (inputs.h, inputs.weight, inputs.bias))
    # With weights told beforehand a second backward pass adds the same numbers in another order, and what the first
    # one was not asked for (an output without a gradient) was computed all the same
    told = operation in WEIGHTED.values()
    assert torch.autograd.gradcheck(
        function, parameters, fast_mode=False, nondet_tol=told * 1e-12, check_undefined_grad=not told
    )


@pytest.mark.parametrize("biased", [True, False])
def test_the_distribution_without_a_token_is_held_constant(biased):
    inputs = Inputs(torch.float64)
    bias = inputs.bias if biased else torch.zeros(V, dtype=torch.float64)
    rest = (inputs.h @ inputs.weight.T + bias).scatter(-1, inputs.target_ids[:, None], -torch.inf).softmax(-1)

    def frozen(h, weight, bias):
        return -(rest * (h @ weight.T + bias).log_softmax(-1)).sum(-1)

    parameters = [tensor.clone().requires_grad_() for tensor in (inputs.h, inputs.weight, bias)]
    assert torch.autograd.gradcheck(frozen, parameters)
    values = frozen(*parameters)
    expected = torch.autograd.grad(values.sum(), parameters)
    found = Head(*parameters[1:], chunk_rows=3).cross_entropy_without(parameters[0], inputs.target_ids)
    torch.testing.assert_close(found, values)
    for ours, plain in zip(torch.autograd.grad(found.sum(), parameters), expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


def test_the_new_operations_worked_by_hand():
    # z = (ln 4, ln 2, 0), z_ref = (0, 0, ln 2); W is the identity
    z = torch.tensor([[4.0, 2.0, 1.0]]).log()
    reference_z = torch.tensor([[1.0, 1.0, 2.0]]).log()
    log_p = torch.tensor([4 / 7, 2 / 7, 1 / 7]).log()
    ids = torch.tensor([2])
    for head_class in (Head, DenseHead):
        head = head_class(torch.eye(3), None, torch.eye(3))
        # at temperature 1/2 p is (16, 4, 1) / 21
        halved = torch.tensor([16 / 21, 4 / 21, 1 / 21])
        assert head.entropy(z, 0.5).item() == pytest.approx(-(halved * halved.log()).sum().item())
        # lowered by ln 2 the reference is uniform
        value = head.cross_entropy_to_reference(z, reference_z, ids, math.log(2))
        assert value.item() == pytest.approx(-log_p.mean().item())
        # without token 2 p is (2/3, 1/3, 0)
        value = head.cross_entropy_without(z, ids)
        assert value.item() == pytest.approx(-(2 / 3 * log_p[0] + 1 / 3 * log_p[1]).item())


@every_operation
def test_bfloat16_gives_float32_results_within_the_rounding_of_its_logits(operation):
    inputs, exact = Inputs(torch.bfloat16), Inputs(torch.bfloat16)
    for name, value in vars(exact).items():
        setattr(exact, name, value.double() if value.is_floating_point() else value)
    truth, *true_gradients = value_and_gradients(DenseHead, operation, exact)
    value, *gradients = value_and_gradients(Head, operation, inputs, chunk_rows=3)
    assert value.dtype == torch.float32
    # each logit is rounded once to bfloat16: by 2^-9 of it, at most
    rounding = 2.0**-9 * (DenseHead(exact.weight, exact.bias).logits(exact.h)).abs().max()
    assert (value - truth).abs().max() < 4 * rounding
    for gradient, true_gradient in zip(gradients, true_gradients, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert (gradient - true_gradient).norm() < 0.02 * true_gradient.norm() + 1e-6


def test_argmax_is_the_most_probable_token_of_policy_and_reference():
    inputs = Inputs(torch.float32)
    heads = [head(inputs.weight, inputs.bias, *inputs.reference()) for head in (DenseHead, Head)]
    assert torch.equal(heads[0].argmax(inputs.h), heads[1].argmax(inputs.h))
    assert torch.equal(heads[0].reference_argmax(inputs.h), heads[1].reference_argmax(inputs.h))
    assert not torch.equal(heads[1].argmax(inputs.h), heads[1].reference_argmax(inputs.h))
    for ids in (inputs.one_id, inputs.several_ids):
        found = [head.reference_logits_at(inputs.h.requires_grad_(), ids) for head in heads]
        torch.testing.assert_close(*found)
        assert not found[1].requires_grad


def test_kl_of_a_model_with_itself_is_exactly_zero():
    inputs = Inputs(torch.float32)
    head = Head(inputs.weight, inputs.bias, inputs.weight, inputs.bias)
    for direction in ("policy_reference", "reference_policy"):
        assert head.kl(inputs.h, inputs.h, direction).tolist() == [0.0] * P


def test_log_prob_of_a_certain_token_keeps_its_digits():
    # z = (40, 30): log p = -log(1 + e^-10) = -4.54e-5, while logsumexp(z) = 40 is rounded to steps of 3.8e-6
    head = Head(torch.tensor([[40.0], [30.0]]))
    log_prob = head.log_prob(torch.ones(1, 1), torch.tensor([0]))
    assert log_prob.item() == pytest.approx(-4.5398899e-05, rel=5e-3)


def test_no_gradient_reaches_the_reference():
    inputs = Inputs(torch.float32)
    reference_weight, reference_h = inputs.reference_weight.requires_grad_(), inputs.reference_h.requires_grad_()
    head = Head(inputs.weight.requires_grad_(), None, reference_weight)
    head.kl(inputs.h, reference_h, "policy_reference").sum().backward()
    assert reference_weight.grad is None
    assert reference_h.grad is None


def test_several_operations_on_one_head_add_their_gradients():
    inputs = Inputs(torch.float64)

    def loss(head, h):
        terms = [operation(head, h, inputs).square().sum() for operation in OPERATIONS.values()]
        return sum(terms) + head.mean_logit(h).sum()

    found = []
    for head_class in (DenseHead, Head):
        h, weight, bias = (tensor.clone().requires_grad_() for tensor in (inputs.h, inputs.weight, inputs.bias))
        loss(head_class(weight, bias, *inputs.reference()), h).backward()
        found.append((h.grad, weight.grad, bias.grad))
    for dense, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, dense)


def test_a_backward_pass_for_the_states_alone_leaves_nothing_in_the_next_pass():
    inputs = Inputs(torch.float64)
    h, weight = inputs.h.requires_grad_(), inputs.weight.requires_grad_()
    value = Head(weight).entropy(h).sum()
    torch.autograd.grad(value, h, retain_graph=True)
    value.backward(retain_graph=True)
    once = weight.grad.clone()
    value.backward()
    torch.testing.assert_close(weight.grad, 2 * once)
    dense_weight = inputs.weight.detach().requires_grad_()
    DenseHead(dense_weight).entropy(h).sum().backward()
    torch.testing.assert_close(once, dense_weight.grad)


def test_a_frozen_weight_gets_no_gradient_and_the_states_still_do():
    inputs = Inputs(torch.float64)
    h = inputs.h.requires_grad_()
    head = Head(inputs.weight)
    (head.log_prob(h, inputs.target_ids) + head.mean_logit(h) + head.max_logit(h)).sum().backward()
    assert h.grad is not None
    assert inputs.weight.grad is None


def test_a_weight_changed_between_forward_and_backward_is_noticed():
    weight = torch.nn.Parameter(Inputs(torch.float32).weight)
    value = Head(weight).entropy(torch.ones(2, D)).sum()
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@every_operation
def test_no_positions_give_no_values_and_a_zero_gradient(operation):
    inputs = Inputs(torch.float32, positions=0)
    value, h_gradient, weight_gradient, bias_gradient = value_and_gradients(Head, operation, inputs)
    assert len(value) == 0
    assert h_gradient.shape == (0, D)
    assert not weight_gradient.any()
    assert not bias_gradient.any()


@every_operation
def test_autocast_does_not_lower_the_precision(operation):
    inputs = Inputs(torch.float32)
    head = Head(inputs.weight, inputs.bias, *inputs.reference())
    with torch.autocast("cpu", torch.bfloat16):
        inside = operation(head, inputs.h, inputs)
    torch.testing.assert_close(inside, operation(head, inputs.h, inputs), rtol=0, atol=0)


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor that any operator returned, and which operators ran."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.operators: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        self.operators.add(function.overloadpacket.__name__)
        return result


@every_operation
@pytest.mark.parametrize("head_class", [Head, DenseHead])
def test_only_the_dense_head_ever_holds_a_number_for_each_position_and_word(operation, head_class):
    positions, chunk_rows = 64, 16
    inputs = Inputs(torch.float32, positions=positions)
    options = {"chunk_rows": chunk_rows} if head_class is Head else {}
    h, weight = inputs.h.requires_grad_(), inputs.weight.requires_grad_()
    with LargestTensor() as seen:
        head = head_class(weight, inputs.bias, *inputs.reference(), **options)
        value = operation(head, h, inputs)
        forward_operators = set(seen.operators)
        value.sum().backward()
    assert seen.operators > forward_operators, "backward ran outside the watch"
    if head_class is DenseHead:
        assert seen.elements >= positions * V
    else:
        assert seen.elements <= max(chunk_rows * V, V * D, value.numel())


def test_few_logits_are_gathered_and_many_are_taken_from_dense_blocks():
    inputs = Inputs(torch.float32)
    assert 1 * autograd.GATHER_COST < V <= 9 * autograd.GATHER_COST
    for ids, gathers in ((inputs.one_id, True), (inputs.several_ids, False)):
        with LargestTensor() as seen:
            Head(inputs.weight).logits_at(inputs.h, ids)
        assert ("index" in seen.operators) == gathers


def test_an_unknown_direction_and_a_missing_reference_are_refused():
    inputs = Inputs(torch.float32)
    with pytest.raises(ValueError, match="sideways"):
        Head(inputs.weight, None, inputs.weight).kl(inputs.h, inputs.h, "sideways")
    with pytest.raises(ValueError, match="without a reference weight"):
        Head(inputs.weight).kl(inputs.h, inputs.h, "policy_reference")
    with pytest.raises(ValueError, match="without a reference weight"):
        Head(inputs.weight).cross_entropy_to_reference(inputs.h, inputs.h, inputs.target_ids, 1.0)
    with pytest.raises(ValueError, match="without a reference weight"):
        Head(inputs.weight).reference_logits_at(inputs.h, inputs.one_id)


@pytest.mark.parametrize(
    ("device", "vocabulary", "rows"),
    [("cpu", 128256, 192), ("cpu", 32000, 262), ("cuda", 128256, 1046), ("cuda", 32000, 4194), ("cuda", 10**6, 192)],
)
def test_blocks_of_logits_are_larger_on_a_gpu(device, vocabulary, rows):
    assert projection.block_rows(device, vocabulary) == rows


def test_rows_of_the_head_are_gathered_on_a_cpu_only():
    assert autograd.gathers("cpu", 1000, 128256)
    assert not autograd.gathers("cpu", 5000, 128256)
    assert not autograd.gathers("cuda", 1, 128256)


@pytest.mark.parametrize("head_class", [Head, DenseHead])
@pytest.mark.parametrize("k", [1, 9])
def test_ids_of_32_bits_choose_the_same_logits(head_class, k):
    made = torch.Generator().manual_seed(0)
    weight = torch.randn(V, D, generator=made, requires_grad=True)
    h, ids = torch.randn(P, D, generator=made), torch.randint(V, (P, k), generator=made)
    found = []
    for kind in (torch.int64, torch.int32):
        z = head_class(weight).logits_at(h, ids.to(kind))
        found.append((z, *torch.autograd.grad(z.square().sum(), weight)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
