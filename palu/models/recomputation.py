"""Activations that are computed twice instead of kept: what a training trades for memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from palu.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def recompute_blocks(model: PreTrainedModel) -> None:
    """From now on each block keeps its input only, in place; the backward pass runs the block's forward anew.

    Loss and gradients stay the same bits. The library's own switch works in training mode alone, where dropout is on;
    here the blocks' `forward` is wrapped, inside the module's hooks, so that those of distributed training run once.
    Raises UserError for an architecture whose blocks the library does not mark.
    """
    from torch.utils.checkpoint import checkpoint
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not blocks:
        raise UserError(
            f"machine.gradient_checkpointing: a model of type {model.config.model_type!r} has no blocks that can be "
            "run again; allowed: false"
        )
    for block in blocks:
        # no random numbers are drawn while dropout is off, so none are kept
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
