"""The nodes that `Head` puts into the graph.

A node that is told the weights of its rows in the loss computes their gradients with their values, block by block.
One that is not keeps the states and computes its blocks anew in backward.

W and b enter the graph once, in `parameters`, as one scalar that every other node takes as an input. Autograd runs a
node after all that used its output, so that node hands over, at once, the buffer to which the others added. With W
itself as their input each of them would return a (V, D) gradient of its own. No second derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from palu.heads.operations import Operation
from palu.heads.projection import Projection, result_dtype

# Gathering K rows of W per position beats a dense product while K * GATHER_COST < V. Measured on a CPU, forward and
# backward: the two meet at V / K = 43 for (V, D) = (49152, 576), at 24 for (32000, 2048).
GATHER_COST = 43


def gathers(device_type: str, k: int, vocabulary: int) -> bool:
    """Whether k logits of each position come from k rows of W, not from all logits. A GPU always computes them all: it
    would run a few positions at a time, whose rows fill a block."""
    return device_type == "cpu" and k * GATHER_COST < vocabulary


def parameters(weight: Tensor, bias: Tensor | None, projection: Projection, adds_to_grad: bool) -> Tensor:
    """The scalar that stands for weight (V, D) and bias (V,) as the other nodes' input."""
    return _apply(_Parameters, weight, bias, projection, (weight, bias) if adds_to_grad else ())


def per_row(
    h: Tensor,
    token: Tensor,
    projection: Projection,
    operation: Operation,
    weight: float | Tensor | None,
    *rows: Tensor,
) -> Tensor:
    """(P, D) and the operation's other arguments, P rows each -> (P,).

    weight: d loss / d value, of each row or of all, where it is known; 0 and None give the row nothing beforehand.
    """
    if not torch.is_grad_enabled():
        weight = None
    elif weight is not None:
        weight = torch.as_tensor(weight, dtype=result_dtype(projection.weight), device=h.device).expand(len(h))
        # a sum that does not enter the loss is not reached by its backward pass
        weight = weight if weight.any() else None
    # autocast would take the operations' sums to bfloat16
    with torch.autocast(h.device.type, enabled=False):
        return _apply(_PerRow, h, token, projection, operation, weight, *rows)


def logits_at(h: Tensor, token: Tensor, projection: Projection, ids: Tensor) -> Tensor:
    """(P, D), (P, K) -> (P, K): by gathering rows of W or from dense blocks, whichever is faster."""
    return _apply(_LogitsAt, h, token, projection, ids)


def mean_row(token: Tensor, projection: Projection) -> tuple[Tensor, Tensor]:
    """The means over the vocabulary of the weight, (D,), and of the bias, ()."""
    return cast("tuple[Tensor, Tensor]", _apply(_MeanRow, token, projection))


def _apply(node: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    return cast("Tensor", node.apply(*arguments))  # type: ignore[no-untyped-call]


class _Parameters(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, _bias: Tensor | None, projection: Projection, leaves: tuple[Tensor | None, ...]
    ) -> Tensor:
        ctx.projection, ctx.leaves = projection, leaves
        return weight.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients: list[Tensor | None] = list(ctx.projection.take_gradients())
        for i, leaf in enumerate(ctx.leaves):
            gradient = gradients[i]
            if gradient is not None and leaf.grad is not None:
                leaf.grad.add_(gradient)
                gradients[i] = None
        return (*gradients, None, None)


class _PerRow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        token: Tensor,
        projection: Projection,
        operation: Operation,
        weight: Tensor | None,
        *rows: Tensor,
    ) -> Tensor:
        ctx.projection, ctx.operation = projection, operation
        # the head's weight is saved so that autograd notices when it changes before backward
        ctx.save_for_backward(h, token, projection.weight, *rows)
        ctx.weight = ctx.h_gradient = None
        values = torch.empty(len(h), dtype=result_dtype(projection.weight), device=h.device)
        if weight is None or not any(ctx.needs_input_grad[:2]):
            for block in projection.blocks(h):
                values[block], _ = operation(projection.logits(h[block]), *(row[block] for row in rows))
            return values
        if ctx.needs_input_grad[1]:
            projection.begin()
        ctx.weight, ctx.h_gradient = weight, torch.zeros_like(h)
        for block in projection.blocks(h):
            mine = [row[block] for row in rows]
            values[block] = _pass_block(ctx, h[block], weight[block], ctx.h_gradient[block], mine)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, value_gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, token, _, *rows = ctx.saved_tensors
        h_gradient, missing = ctx.h_gradient, value_gradient
        ctx.h_gradient = None
        if h_gradient is None:
            h_gradient = torch.zeros_like(h)
        elif not ctx.needs_input_grad[1] or ctx.projection.arrive():
            missing = value_gradient - ctx.weight
        else:
            h_gradient.zero_()
        # the gradient is linear in the rows' weights: what arrived in excess of those given is added
        chosen = missing.nonzero()[:, 0]
        for block in ctx.projection.blocks(chosen):
            some = chosen[block]
            gradient = torch.zeros_like(h[some])
            _pass_block(ctx, h[some], missing[some], gradient, [row[some] for row in rows])
            h_gradient[some] += gradient
        return h_gradient, torch.zeros_like(token), *(None for _ in range(3 + len(rows)))


class _LogitsAt(torch.autograd.Function):
    # Without a cap linear in the states and in W: backward needs no logits

    @staticmethod
    def forward(ctx: Any, h: Tensor, token: Tensor, projection: Projection, ids: Tensor) -> Tensor:
        weight = projection.weight
        ctx.projection, ctx.gathers = projection, gathers(weight.device.type, ids.shape[1], len(weight))
        chosen = torch.empty(ids.shape, dtype=result_dtype(weight), device=h.device)
        if ctx.gathers:
            for block in projection.gather_blocks(ids):
                chosen[block] = projection.chosen_logits(h[block], ids[block])
        else:
            for block in projection.blocks(h):
                chosen[block] = projection.logits(h[block]).gather(-1, ids[block].long())
        ctx.save_for_backward(h, token, weight, ids, None if projection.transform.cap is None else chosen)
        return chosen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, chosen_gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, token, weight, ids, chosen = ctx.saved_tensors
        projection = ctx.projection
        if not projection.transform.is_identity:
            chosen_gradient = chosen_gradient * projection.transform.slope(chosen)
        h_gradient = torch.zeros_like(h)
        if ctx.gathers:
            for block in projection.gather_blocks(ids):
                gradient = chosen_gradient[block]
                h_gradient[block] = torch.einsum("ckd,ck->cd", weight[ids[block]], gradient.to(weight.dtype))
                if ctx.needs_input_grad[1]:
                    projection.add_rows(ids[block], gradient, h[block])
        else:
            for block in projection.blocks(h):
                z_gradient = chosen_gradient.new_zeros(len(h[block]), len(weight))
                z_gradient.scatter_add_(-1, ids[block].long(), chosen_gradient[block])
                _pass_back(ctx, z_gradient, h[block], h_gradient[block])
        return h_gradient, torch.zeros_like(token), None, None


class _MeanRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, _token: Tensor, projection: Projection) -> tuple[Tensor, Tensor]:
        ctx.projection = projection
        weight, bias = projection.weight, projection.bias
        mean_weight = weight.mean(0, dtype=result_dtype(weight))
        return mean_weight, mean_weight.new_zeros(()) if bias is None else bias.mean(dtype=mean_weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight_gradient: Tensor, bias_gradient: Tensor) -> tuple[Tensor | None, ...]:
        ctx.projection.add_to_every_row(weight_gradient, bias_gradient)
        return ctx.projection.weight.new_zeros(()), None


def _pass_block(ctx: Any, h: Tensor, weight: Tensor, h_gradient: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """The values of a block of positions; their gradients, each times its weight, go to h_gradient and W's buffer."""
    z, transform = ctx.projection.logits(h), ctx.projection.transform
    # taken first: the operation may overwrite its logits
    slope = None if transform.is_identity else transform.slope(z)
    values, gradient = ctx.operation(z, *rows)
    z_gradient = gradient().mul_(weight[:, None])
    _pass_back(ctx, z_gradient if slope is None else z_gradient.mul_(slope), h, h_gradient)
    return cast("Tensor", values)


def _pass_back(ctx: Any, z_gradient: Tensor, h: Tensor, h_gradient: Tensor) -> None:
    """Turn a block's gradient in its logits into those of its states (in place) and of W, where they are wanted."""
    weight = ctx.projection.weight
    if ctx.needs_input_grad[0]:
        h_gradient.copy_(z_gradient.to(weight.dtype) @ weight)
    if ctx.needs_input_grad[1]:
        ctx.projection.add_block(z_gradient, h)
