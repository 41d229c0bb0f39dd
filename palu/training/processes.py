"""What the processes of a distributed training hold in parts or must do together.

DDP: each has the whole model, and gradients are averaged once a step. FSDP2: each has a share of every parameter. A
block's are gathered while it runs; those outside the blocks, embedding and head among them, from the start of the
objective's forward pass to the end of its backward pass, so that the head may be read as one plain matrix and its
gradient comes back through it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType

if TYPE_CHECKING:
    from torch import Tensor, nn

# What the name of the model's weights begins with in an `Objective`
_PREFIX = "model."


def ddp_options(uses_all_parameters: bool) -> DistributedDataParallelKwargs:
    """Options of DDP. uses_all_parameters: whether the loss reaches every parameter; DDP waits for those that it does
    not expect to be left out."""
    return DistributedDataParallelKwargs(
        # our buffers are constants: to send them at each pass is waste
        broadcast_buffers=False,
        find_unused_parameters=not uses_all_parameters,
        # a parameter's `grad` is a part of DDP's bucket, not a second copy: bytes of all gradients are saved
        gradient_as_bucket_view=True,
    )


def make_deterministic() -> None:
    """From now on torch runs an operation in the way that gives equal bytes each time, or refuses it.

    cuBLAS reads the size of its workspace when it is used first.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def is_alone(accelerator: Accelerator) -> bool:
    """Whether no other process, and no wrapper around the model, takes part."""
    return bool(accelerator.distributed_type == DistributedType.NO)


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a share of every parameter."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def gathers_in(module: nn.Module, method_name: str) -> None:
    """Let a method of a sharded module see whole parameters, as its forward pass does."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    register_fsdp_forward_method(module, method_name)


def whole_number(value: Any) -> float:
    """A scalar tensor as a number, also where it is spread over processes. All processes call this."""
    from torch.distributed.tensor import DTensor

    return float(value.full_tensor() if isinstance(value, DTensor) else value)


def whole_weights(accelerator: Accelerator, module: nn.Module) -> dict[str, Tensor] | None:
    """The model's weights, on the CPU of the main process, where no process has them whole; else None.

    module: an `Objective` as accelerate prepared it. All processes call this.
    """
    if not is_sharded(accelerator):
        return None
    gathered: dict[str, Tensor] = accelerator.get_state_dict(module)
    # a weight that two modules share is stored once, under its first name
    once, again = (dict(module.named_parameters(remove_duplicate=kind)).keys() for kind in (True, False))
    repeated = again - once
    return {name.removeprefix(_PREFIX): weight for name, weight in gathered.items() if name not in repeated}
