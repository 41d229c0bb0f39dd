"""What a model does that this package relies on, measured on a few random short rows of the model at hand.

No list of families decides: each promise is tried when it is first needed, and the answer is kept with the model.

    output_head     the logits are f(W h + b) of the last hidden state h, f a scale or a soft cap
    packing_fault   rows that share a line see no other row, and count their positions from 0
    cache_fault     a cache gives the logits of the whole sequence
    left_padding_fault    prompts of one batch, padded on the left, go on as each alone, from a cache
    check_layer     what the body reports as the state after a block is what that block returned
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError, first_line
from palu.models.body import hidden_states, next_logits, run_body
from palu.models.probe import SAME_SUMS, ProbeLines, differs, kept, lines_of, random_rows, without_dropout

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from palu.heads import HeadParameters, LogitTransform

# One logit far beyond any cap, and one for the scale
FAR, UNIT = 1e7, 1.0


def output_head(model: PreTrainedModel) -> HeadParameters:
    """The language-model head: weight (V, D), bias (V,) or None, and the transform f of its product.

    Raises UserError, naming the reason, for a model whose logits are nothing of the kind, and for one whose rows
    depend on the padding after them.
    """
    from palu.heads import HeadParameters

    transform = kept(model, "transform", lambda: _transform(model))
    head = cast(Any, model).get_output_embeddings()
    return HeadParameters(head.weight, getattr(head, "bias", None), transform)


def packing_fault(model: PreTrainedModel) -> str | None:
    """Why rows must not share a line in this model; None where they may."""
    return kept(model, "packing", lambda: _packing_fault(model))


def left_padding_fault(model: PreTrainedModel) -> str | None:
    """Why prompts must be answered one by one in this model; None where they may be padded on the left."""
    return kept(model, "left padding", lambda: _left_padding_fault(model))


def cache_fault(model: PreTrainedModel) -> str | None:
    """Why each step of an answer must read the whole sequence again; None where the model's own cache serves."""
    return kept(model, "cache", lambda: _cache_fault(model))


def check_layer(model: PreTrainedModel, layer: int) -> None:
    """Raise UserError unless the body's hidden state `layer` + 1 is what block `layer` returned, 0 being the first.

    There must be a block after it: after the last one comes the final norm.
    """
    blocks = model.config.get_text_config().num_hidden_layers
    if not 0 <= layer < blocks - 1:
        raise UserError(f"layer: {layer} of a model of {blocks} blocks; allowed: 0 to {blocks - 2}")
    if fault := kept(model, f"layer {layer}", lambda: _layer_fault(model, layer)):
        raise UserError(f"{place_of(model)}: the state after block {layer} cannot be read: {fault}")


def place_of(model: PreTrainedModel) -> str:
    """How messages name the model."""
    return str(model.config.name_or_path or model.config.model_type)


def _transform(model: PreTrainedModel) -> LogitTransform:
    try:
        return _measured_transform(model)
    except UserError:
        raise
    except Exception as error:
        # any family may fail in a way of its own
        raise UserError(f"{place_of(model)}: cannot run as a causal language model: {first_line(error)}") from error


def _measured_transform(model: PreTrainedModel) -> LogitTransform:
    """Run a batch of rows once through the body and once through the whole model, whose head is made to answer with
    chosen numbers: what comes out of the model is then f of them."""
    import torch

    head = cast(Any, model).get_output_embeddings()
    if getattr(head, "weight", None) is None:
        raise _refusal(model, "it has no output matrix")
    rows = random_rows(model)
    batch = lines_of(rows, 1, 0, model.device)
    with torch.no_grad(), without_dropout(model):
        hidden = hidden_states(model, batch)
        _check_padding(model, rows, hidden, batch)
        inputs, logits = _answered(model, head, batch)
    if len(inputs) != 1:
        raise _refusal(model, f"its output matrix is used {len(inputs)} times in a pass")
    state = inputs[0].reshape(-1, inputs[0].shape[-1])
    chosen = torch.cat([torch.arange(place.start, place.stop) for place in batch.place]).to(hidden.device)
    if state.shape != hidden.shape:
        raise _refusal(model, "a layer between its last hidden state and its output matrix")
    state, hidden = state[chosen].double(), hidden[chosen].double()
    share = float((state * hidden).sum() / hidden.square().sum())
    if differs(state.to(model.dtype), (share * hidden).to(model.dtype)):
        raise _refusal(model, "a layer between its last hidden state and its output matrix")
    share = 1.0 if abs(share - 1) < 1e-4 else share
    if share != 1 and getattr(head, "bias", None) is not None:
        raise _refusal(model, f"its last hidden state is scaled by {share:.6g} before an output matrix with a bias")
    return _fitted(model, logits, share)


def _probe(width: int) -> Tensor:
    import torch

    return torch.cat([torch.tensor([FAR, UNIT]), torch.linspace(-120, 120, width - 2)])


def _answered(model: PreTrainedModel, head: Any, batch: ProbeLines) -> tuple[list[Tensor], Tensor]:
    """What the head was given in a pass of the whole model, and the logits (V,) that the model makes of the probe."""
    inputs: list[Tensor] = []

    def answer(_module: Any, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        inputs.append(arguments[0])
        return _probe(output.shape[-1]).to(output.device).expand(output.shape).clone()

    handle = head.register_forward_hook(answer)
    try:
        output = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False)
    finally:
        handle.remove()
    return inputs, output.logits[0, 0]


def _fitted(model: PreTrainedModel, logits: Tensor, share: float) -> LogitTransform:
    """The transform that gives these logits of the probe. share: what the state was multiplied by beforehand."""
    import torch

    from palu.heads import LogitTransform

    found, probe = logits.cpu().double(), _probe(len(logits)).double()
    narrow = logits.dtype != torch.float32
    far, unit = float(found[0]), float(found[1])
    cap = _as_configured(model, far, narrow) if 0 < far < FAR / 100 else None
    scale = unit if cap is None else cap * float(torch.atanh(found[1] / cap))
    scale = _as_configured(model, scale / UNIT, narrow)
    if not scale > 0 or not torch.isfinite(found).all():
        raise _refusal(model, "its logits do not rise with its output matrix's product")
    expected = LogitTransform(scale, cap)(probe)
    if ((found - expected).abs() > (1e-2 if narrow else 1e-5) * expected.abs().clamp_min(scale)).any():
        raise _refusal(model, "its logits are neither a multiple nor a soft cap of its output matrix's product")
    return LogitTransform(scale * share, cap)


def _as_configured(model: PreTrainedModel, value: float, narrow: bool) -> float:
    """The number of the configuration that was measured, or its inverse, exactly; the measured one where none is."""
    named = [1.0]
    for stated in model.config.get_text_config().to_dict().values():
        if isinstance(stated, int | float) and not isinstance(stated, bool) and stated > 0:
            named += [float(stated), 1 / stated]
    nearest = min(named, key=lambda number: abs(number - value))
    return nearest if abs(nearest - value) <= (4e-3 if narrow else 1e-5) * abs(value) else value


def _check_padding(model: PreTrainedModel, rows: Sequence[Tensor], hidden: Tensor, batch: ProbeLines) -> None:
    """Raise UserError unless each row of a padded batch is as it is alone, whatever the padding is."""
    other = hidden_states(model, lines_of(rows, 1, 1, model.device))
    for row, place in zip(rows, batch.place, strict=True):
        if differs(other[place], hidden[place]) or differs(hidden[place], _alone(model, row)):
            raise _refusal(model, "a row depends on what comes after it in its batch")


def _alone(model: PreTrainedModel, row: Tensor) -> Tensor:
    """(T, D): the row's states, without any other row or padding."""
    import torch

    ids = row[None].to(model.device)
    return hidden_states(model, ProbeLines(ids, torch.arange(len(row), device=ids.device)[None], []))


def _packing_fault(model: PreTrainedModel) -> str | None:
    import torch

    rows, others = random_rows(model), random_rows(model, seed=1)
    batch = lines_of(rows, 2, 0, model.device)
    changed = lines_of([*(others[i] if i % 2 == 0 else row for i, row in enumerate(rows))], 2, 0, model.device)
    with torch.no_grad(), without_dropout(model):
        try:
            packed, moved = hidden_states(model, batch), hidden_states(model, changed)
            for i, (row, place) in enumerate(zip(rows, batch.place, strict=True)):
                if i % 2 and differs(moved[place], packed[place], SAME_SUMS):
                    return "rows that share a line see each other"
                if differs(packed[place], _alone(model, row)):
                    return "a row that shares a line has other states than alone"
        except Exception as error:
            return f"it cannot run rows that share a line: {first_line(error)}"
    return None


def _cache_fault(model: PreTrainedModel) -> str | None:
    import torch

    row = random_rows(model)[:1]
    with torch.no_grad(), without_dropout(model):
        try:
            after = _two_steps(model, row, 0, use_cache=True)[1]
        except Exception as error:
            return f"its cache fails: {first_line(error)}"
        whole = model(input_ids=row[0][None].to(model.device), use_cache=False).logits[:, -1]
    return "its cache gives other logits than the whole sequence" if differs(after, whole) else None


def _left_padding_fault(model: PreTrainedModel) -> str | None:
    import torch

    rows = random_rows(model)
    with torch.no_grad(), without_dropout(model):
        try:
            cached = cache_fault(model) is None
            steps, moved = (_two_steps(model, rows, pad_id, cached) for pad_id in (0, 1))
            for i, row in enumerate(rows):
                for step, length in zip(steps, (len(row) - 1, len(row)), strict=True):
                    alone = model(input_ids=row[None, :length].to(model.device), use_cache=False).logits[0, -1]
                    if differs(step[i], alone):
                        return "a prompt that is padded on the left goes on otherwise than alone"
            if any(differs(other, step, SAME_SUMS) for other, step in zip(moved, steps, strict=True)):
                return "a prompt sees the padding on its left"
        except Exception as error:
            return f"it cannot go on from prompts that are padded on the left: {first_line(error)}"
    return None


def _two_steps(model: PreTrainedModel, rows: Sequence[Tensor], pad_id: int, use_cache: bool) -> list[Tensor]:
    """(B, V) twice: the logits after all tokens of each row but the last, and, going on from there, after the last."""
    import torch

    width = max(map(len, rows)) - 1
    ids, mask = torch.full((len(rows), width), pad_id), torch.zeros(len(rows), width, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, width - len(row) + 1 :], mask[i, width - len(row) + 1 :] = row[:-1], 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    last = torch.stack([row[-1:] for row in rows]).to(model.device)
    first, cache = next_logits(model, ids, mask, positions, use_cache=use_cache)
    wider, after = torch.cat([mask, torch.ones_like(last)], -1), positions[:, -1:] + 1
    if cache is None:
        last, after = torch.cat([ids, last], -1), torch.cat([positions, after], -1)
    return [first, next_logits(model, last, wider, after, cache, use_cache)[0]]


def _layer_fault(model: PreTrainedModel, layer: int) -> str | None:
    import torch
    from torch import nn

    count = model.config.get_text_config().num_hidden_layers
    lists = [part for part in model.base_model.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if not lists:
        return f"its body has no list of {count} blocks"
    batch, seen = lines_of(random_rows(model), 1, 0, model.device), []
    handle = lists[0][layer].register_forward_hook(lambda _module, _arguments, output: seen.append(output))
    try:
        with torch.no_grad(), without_dropout(model):
            reported = run_body(model, batch, output_hidden_states=True)[1]
    except Exception as error:
        return first_line(error)
    finally:
        handle.remove()
    if not seen or reported is None or len(reported) <= layer + 1:
        return "its body reports no state for it"
    own = seen[0] if isinstance(seen[0], torch.Tensor) else seen[0][0]
    if own.shape != reported[layer + 1].shape or differs(reported[layer + 1], own, SAME_SUMS):
        return "the state that its body reports is not what the block returned"
    return None


def _refusal(model: PreTrainedModel, reason: str) -> UserError:
    return UserError(
        f"{place_of(model)}: a model of type {model.config.model_type!r} cannot be used: {reason}; "
        "allowed: logits that are a multiple or a soft cap of the output matrix times the last hidden state"
    )
