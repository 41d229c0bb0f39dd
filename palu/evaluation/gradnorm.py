"""How far one step on a row would move the model: gradient norms, for the attack of that name.

The loss is the row's mean negative log-likelihood over its targets but the last, as in OpenUnlearning. Its gradient's
2-norm is taken for each parameter tensor, and the mean over the tensors is the row's value. A document in pieces has
one loss, the mean over the targets of all its pieces, and so one gradient: the sum of theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import takewhile

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, linear
from transformers import PreTrainedModel

from palu.errors import UserError, first_line, is_out_of_memory, shown
from palu.heads import LogitTransform
from palu.models import output_head
from palu.tokens import TokenRow, grouped

_log = logging.getLogger(__name__)

# Gradients of several rows at once, where that many whole models fit; a model that is larger goes row by row, and no
# two of its gradients exist at the same time
GRADIENT_BYTES = {"cuda": 2**33, "cpu": 2**28}
ROWS_PER_BATCH = 32
# Vectorised attention holds a matrix of T x T numbers for each row, head and layer until the backward pass
PAIRS_PER_BATCH = 2**22


def gradient_norms(
    model: PreTrainedModel,
    rows: Sequence[TokenRow],
    advance: Callable[[int], object] = lambda _rows: None,
) -> list[float]:
    """The value of each row; NaN for one with a single target, which leaves nothing once the last is left out.

    The naive program is `loss.backward()` for one row after the other. A small model's rows share vectorised passes:
    twice as fast at 0.35 M parameters on two idle cores, ten times beside other work (tests/benchmarks/evaluate.py
    --backward). A model whose code has no batched form (GPT-2 with a padding token, a mixture of experts) goes row by
    row. rows: in the order of `encode`; the pieces of a document count as one row. advance: told how many
    rows, each piece counted, every batch has finished.
    """
    kind = "cuda" if model.device.type == "cuda" else "cpu"
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    limit = min(ROWS_PER_BATCH, GRADIENT_BYTES[kind] // size)
    groups = grouped(rows)
    longest_first = sorted(range(len(groups)), key=lambda i: -len(groups[i][0]))
    waiting = [i for i in longest_first if _target_count(groups[i]) > 0]
    norms = [float("nan")] * len(groups)
    advance(sum(len(group) for group in groups if _target_count(group) < 1))
    # a cast weight that autocast has kept belongs to the graph of another row
    uncached = torch.autocast(kind, torch.bfloat16, torch.is_autocast_enabled(kind), cache_enabled=False)
    while waiting:
        chosen = _together(groups, waiting, limit)
        waiting = waiting[len(chosen) :]
        with uncached:
            found = _vectorised_where_it_can(model, [groups[i][0] for i in chosen]) if len(chosen) > 1 else None
            if found is None:
                limit = 1 if len(chosen) > 1 else limit
                found = [one_by_one(model, groups[i]) for i in chosen]
        for i, norm in zip(chosen, found, strict=True):
            norms[i] = norm
        advance(sum(len(groups[i]) for i in chosen))
    return norms


def _vectorised_where_it_can(model: PreTrainedModel, rows: Sequence[TokenRow]) -> list[float] | None:
    """`vectorised`, or None for a model that `vmap` cannot run."""
    try:
        return vectorised(model, rows)
    except Exception as error:
        # torch has no kind of error for code that it cannot vectorise, and the model's own may raise anything
        if is_out_of_memory(error):
            raise
        _log.warning("gradient norms: row by row, since this model has no batched form: %s", shown(str(error), 100))
        return None


def _together(groups: Sequence[Sequence[TokenRow]], waiting: list[int], limit: int) -> list[int]:
    """The first of `waiting` and those behind it, longest first, that share a vectorised pass with it."""
    room = min(limit, PAIRS_PER_BATCH // len(groups[waiting[0]][0]) ** 2)
    return list(takewhile(lambda i: len(groups[i]) == 1, waiting[: max(room, 1)])) or waiting[:1]


def _target_count(pieces: Sequence[TokenRow]) -> int:
    """The targets of a row's pieces but its last one."""
    return sum(len(piece) - piece.first_target for piece in pieces) - 1


def one_by_one(model: PreTrainedModel, pieces: Sequence[TokenRow]) -> float:
    """The value of a row, given as its pieces; each parameter's gradient is dropped as soon as its norm is known."""
    norms: list[Tensor] = []

    def take(parameter: Tensor) -> None:
        if parameter.grad is not None:
            norms.append(parameter.grad.float().norm())
            parameter.grad = None

    parameters = list(model.parameters())
    share = 1 / _target_count(pieces)
    for piece in pieces[:-1]:
        _loss(model, piece, share, left_out=0).backward()  # type: ignore[no-untyped-call]
    hooks = [
        parameter.register_post_accumulate_grad_hook(take)  # type: ignore[no-untyped-call]
        for parameter in parameters
    ]
    try:
        _loss(model, pieces[-1], share, left_out=1).backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        # a family's code may have no gradient without its dropout
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"gradient norms: a model of type {model.config.model_type!r} gives no gradients: {first_line(error)}; "
            "allowed: evaluation.gradient_norms: false"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return float(torch.stack(norms).sum() / len(parameters))


def _loss(model: PreTrainedModel, piece: TokenRow, share: float, left_out: int) -> Tensor:
    """`share` times the negative log-likelihood of a piece's targets but the last `left_out` of them."""
    ids, targets, positions, _ = _padded([piece], model.device, left_out)
    head = output_head(model)
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, positions[0]]
    return cross_entropy(_logits(states, *head), targets[0], reduction="sum") * share


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, transform: LogitTransform) -> Tensor:
    """(P, D) -> (P, V) float32; the product is in the weight's dtype, under autocast too."""
    with torch.autocast(states.device.type, enabled=False):
        return transform(linear(states.to(weight.dtype), weight, bias).float())


def vectorised(model: PreTrainedModel, rows: Sequence[TokenRow]) -> list[float]:
    """The values of rows whose gradients exist at the same time."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    weight, bias, transform = output_head(model)
    weight_name, bias_name = names[id(weight)], None if bias is None else names[id(bias)]
    prefix = f"{model.base_model_prefix}."
    body = {name: name.removeprefix(prefix) for name in parameters if name.startswith(prefix)}

    def loss(values: dict[str, Tensor], ids: Tensor, targets: Tensor, positions: Tensor, shares: Tensor) -> Tensor:
        own = {inner: values[name] for name, inner in body.items()}
        output = functional_call(model.base_model, own, (), {"input_ids": ids[None], "use_cache": False})
        states = output.last_hidden_state[0][positions]
        logits = _logits(states, values[weight_name], None if bias_name is None else values[bias_name], transform)
        return (cross_entropy(logits, targets, reduction="none") * shares).sum()

    # the other forms of attention have no batched form: they would run row by row
    with sdpa_kernel(SDPBackend.MATH):
        gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))(parameters, *_padded(rows, model.device))
    norms = [gradient.flatten(1).float().norm(dim=1) for gradient in gradients.values()]
    return [float(value) for value in torch.stack(norms).mean(0)]


def _padded(
    rows: Sequence[TokenRow], device: torch.device, left_out: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, T) tokens, and of the P targets but each row's last `left_out`: (B, P) tokens, predicting positions, shares
    in the row's mean. What follows a row has the share 0, and no real token sees it."""
    counts = [len(row) - row.first_target - left_out for row in rows]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    targets, positions = torch.zeros(2, len(rows), max(counts), dtype=torch.int64)
    shares = torch.zeros(len(rows), max(counts))
    for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
        tokens = torch.from_numpy(row.input_ids.astype("int64"))
        ids[i, : len(row)] = tokens
        targets[i, :count] = tokens[row.first_target :][:count]
        positions[i, :count] = torch.arange(row.first_target - 1, row.first_target - 1 + count)
        # a document's last piece may have the one target that is left out
        shares[i, :count] = 1 / max(count, 1)
    return ids.to(device), targets.to(device), positions.to(device), shares.to(device)
