"""The layers of a model that a low-rank adapter can change, found by asking the model and peft, not by a list of
families."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from palu.errors import UserError
from palu.models.settings import LoraSettings
from palu.settings import unknown

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

# As many tokens as the trial row has: enough that a router sends them to several experts
TRIAL_TOKENS = 8


def chosen_targets(model: PreTrainedModel, settings: LoraSettings) -> tuple[list[str], list[str]]:
    """The names of the linear layers to adapt, and those of the stacks of experts.

    A stack is a parameter (experts, ., .), in which the library keeps the same layer of all experts of a block. It is
    adapted where it is named; `all-linear` leaves it out, since each step would hold a second copy of its weights.
    Raises UserError for a name that the model does not have, and for one that no adapter can change.
    """
    linear, stacks = _layers(model.base_model)
    if not linear:
        raise UserError(f"lora: a model of type {model.config.model_type!r} has no linear layer to adapt")
    useless = _useless(model, linear)
    sound = sorted(linear - useless.keys())
    if settings.targets == "all-linear":
        if not sound:
            raise UserError(f"lora: a model of type {model.config.model_type!r}: no linear layer can be adapted")
        return sound, []
    for target in settings.targets:
        if target not in linear | stacks:
            raise unknown("layer", target, "lora.targets", {"all-linear", *sound, *stacks})
        if target in useless.keys() - stacks:
            allowed = ", ".join(sorted({"all-linear", *sound, *stacks}))
            raise UserError(f"lora.targets: {target!r}: {useless[target]}; allowed: {allowed}")
    chosen = set(settings.targets)
    return sorted(chosen & set(sound)), sorted(chosen & stacks)


def _layers(body: nn.Module) -> tuple[set[str], set[str]]:
    """The last parts of the names of linear layers, and of stacks of experts."""
    from torch import nn

    linear = {_last(name) for name, part in body.named_modules() if isinstance(part, nn.Linear)}
    stacks = {_last(name) for name, parameter in body.named_parameters() if parameter.dim() == 3}
    # a layer that has a number for a name cannot be named; `weight` is a convolution's
    return {name for name in linear if not name.isdigit()}, stacks - {"weight"}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _useless(model: PreTrainedModel, names: set[str]) -> dict[str, str]:
    """The layers of these names that an adapter cannot change, each with the reason."""
    reached = _reached(model)
    reasons: dict[str, str] = {}
    for name in names:
        if _is_bypassed(model, name):
            reasons[name] = "the model reads its weight without calling the layer, so an adapter may have no effect"
        elif name not in reached:
            reasons[name] = "no gradient reaches it"
        elif not _is_kept(model, name):
            reasons[name] = "peft adapts the experts in its place"
    return reasons


def _reached(model: PreTrainedModel) -> set[str]:
    """The names of linear layers whose output reaches the last hidden state of a short row.

    A zero is added to the output of each, as a new adapter adds one; a zero without effect has no gradient.
    """
    import torch
    from torch import nn

    parts = [(_last(name), part) for name, part in model.base_model.named_modules() if isinstance(part, nn.Linear)]
    if model.device.type == "meta":
        # a model without numbers cannot be tried
        return {name for name, _ in parts}
    zeros: list[tuple[str, Tensor]] = []

    def add_zero(name: str, output: Any) -> Any:
        if not isinstance(output, torch.Tensor):
            # a router that is a linear layer with several results
            return output
        zeros.append((name, torch.zeros_like(output[..., :1], requires_grad=True)))
        return output + zeros[-1][1]

    hooks = [
        part.register_forward_hook(lambda _part, _given, output, name=name: add_zero(name, output))
        for name, part in parts
    ]
    try:
        with torch.enable_grad():
            row = torch.arange(TRIAL_TOKENS, device=model.device).remainder(model.config.vocab_size)
            state = model.base_model(input_ids=row[None], use_cache=False).last_hidden_state
            given = torch.autograd.grad(state.float().sum(), [zero for _, zero in zeros], allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return {name for (name, _), gradient in zip(zeros, given, strict=True) if gradient is not None}


def _is_bypassed(model: PreTrainedModel, name: str) -> bool:
    """Whether code of the model multiplies with the weight of its layer `name` itself.

    The fused kernels of state-space models do, on GPUs only: no trial on a CPU shows it, so the source is read.
    """
    read = re.compile(rf"\bself\.{re.escape(name)}\.weight\b(?!\.(dtype|device|shape))")
    owners = {type(part) for part in model.modules() if hasattr(part, name)}
    return any(read.search(_source(owner)) for owner in owners)


def _source(owner: type) -> str:
    try:
        return inspect.getsource(owner)
    except (OSError, TypeError):
        return ""


def _is_kept(model: PreTrainedModel, name: str) -> bool:
    """Whether peft adapts the linear layers of this name.

    In some families it takes such a name for the one that the experts had in older versions of transformers.
    """
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config: Any = LoraConfig(target_modules=[name])
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError:
        return False
    return name in config.target_modules
