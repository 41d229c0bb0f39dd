"""Optimisers by name, and the schedule of their learning rate."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from palu.errors import UserError
from palu.training.settings import TrainingSettings

# transformers' names of our schedules; all of them begin with the warm-up
_SCHEDULES = {"linear": "linear", "constant": "constant_with_warmup", "cosine": "cosine"}
# our names of bitsandbytes' classes
_BITSANDBYTES = {"adamw_8bit": "AdamW8bit", "paged_adamw": "PagedAdamW", "paged_adamw_8bit": "PagedAdamW8bit"}
# Numbers in the parameter of a trial step: enough for 8-bit states and for states that are paged
_TRIAL_SIZE = 2**17


def build_optimizer(
    model: nn.Module, settings: TrainingSettings, device: torch.device | None = None, sharded: bool = False
) -> torch.optim.Optimizer:
    """AdamW of the trained parameters; weight decay on matrices only, not on the scales of norms and on biases.

    8-bit states: those of embeddings stay in 32 bits, since rows of rare tokens share blocks of states with those of
    frequent ones (Dettmers et al. 2021, 2110.02861, section 2.3). States of fewer than 4096 numbers do too.
    device: what the steps will run on (default: the CPU). On a CPU a paged optimiser has nowhere to page to and is
    the same without. sharded: whether each process will hold a share of every parameter.
    Raises UserError when the library of the optimiser is missing or cannot run there.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    matrices = [p for p in trained if p.ndim >= 2]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in matrices if id(p) not in embeddings], "weight_decay": settings.weight_decay},
        {"params": [p for p in matrices if id(p) in embeddings], "weight_decay": settings.weight_decay, "bits": 32},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        for group in groups:
            group.pop("bits", None)
        return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    if sharded:
        raise UserError(
            f"training.optimizer: {settings.optimizer!r} steps whole tensors, and with FSDP a process has a share of "
            "each; allowed there: adamw"
        )
    kind = _bitsandbytes_class(settings.optimizer)
    _try_a_step(kind, settings.optimizer, device or torch.device("cpu"))
    optimizer: torch.optim.Optimizer = kind(groups, settings.learning_rate)
    return optimizer


def build_scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps_per_epoch: int) -> Any:
    """The learning rate of step s (0-based): s / warm-up steps while warming up, then the schedule until the end."""
    return get_scheduler(
        _SCHEDULES[settings.schedule],
        optimizer,
        num_warmup_steps=round(settings.warmup_epochs * steps_per_epoch),
        num_training_steps=settings.epochs * steps_per_epoch,
    )


def _bitsandbytes_class(name: str) -> Any:
    """The library's class, made to read from a parameter group how many bits its states have."""
    # on a CPU it says on import that it has no kernel for 4-bit products, which nothing here uses
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        from bitsandbytes import optim
    except Exception as error:
        # a build that does not fit the machine fails in many ways
        reason = "is missing" if isinstance(error, ModuleNotFoundError) else f"cannot be loaded ({_one_line(error)})"
        raise UserError(
            f"training.optimizer: {name!r} needs the library bitsandbytes, which {reason}; "
            "allowed: adamw, or install palu[bitsandbytes]"
        ) from error
    library_class: Any = getattr(optim, _BITSANDBYTES[name])

    class WithBits(library_class):  # type: ignore[misc]
        # The library's own way is a register for the whole process, by the numbers of group and parameter
        def get_config(self, gindex: int, pindex: int, group: dict[str, Any]) -> dict[str, Any]:
            config: dict[str, Any] = super().get_config(gindex, pindex, group)
            return config | ({"optim_bits": group["bits"]} if "bits" in group else {})

    return WithBits


def _try_a_step(kind: Any, name: str, device: torch.device) -> None:
    """Raise UserError unless the optimiser runs on this device."""
    try:
        trial = nn.Parameter(torch.zeros(_TRIAL_SIZE, device=device))
        trial.grad = torch.ones_like(trial)
        kind([trial], 1e-3).step()
        moved = bool((trial != 0).all())
    except Exception as error:
        raise UserError(
            f"training.optimizer: {name!r} does not run on {device.type}: {_one_line(error)}; allowed there: adamw"
        ) from error
    if not moved:
        raise UserError(f"training.optimizer: {name!r} changes nothing on {device.type}; allowed there: adamw")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
