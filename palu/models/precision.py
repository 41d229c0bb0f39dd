"""Computing in bfloat16 on float32 weights, where a model's answers are measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@contextmanager
def computing_in(model: PreTrainedModel, mixed_precision: str) -> Iterator[None]:
    """Run the model as a training of that mixed_precision does, but for its output matrix, which stays in float32.

    A logit of 20 in bfloat16 is a multiple of 1/8: first choices would be tied, and log-probabilities off by as much.
    mixed_precision: `no`, or `bf16`, which casts each weight once.
    """
    import torch

    if mixed_precision == "no":
        yield
        return
    kind, before = model.device.type, list[bool]()

    def widen(_module: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        before.append(torch.is_autocast_enabled(kind))
        torch.set_autocast_enabled(kind, False)
        return arguments[0].float(), *arguments[1:]

    def go_on(_module: Any, _arguments: Any, _output: Tensor) -> None:
        torch.set_autocast_enabled(kind, before.pop())

    head = cast(Any, model).get_output_embeddings()
    with torch.autocast(kind, torch.bfloat16):
        hooks = [head.register_forward_pre_hook(widen), head.register_forward_hook(go_on, always_call=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
