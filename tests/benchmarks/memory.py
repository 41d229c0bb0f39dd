"""The peak memory of a PALU step of a 7B and an 8B model, counted without the memory, beside what `palu check` says.

    python tests/benchmarks/memory.py
    python tests/benchmarks/memory.py --shape llama-3.1-8b --layers 4

Weights, states and gradients are FakeTensors: shapes without numbers, on which torch runs every operation of the real
code path (`Loop.step`: body, chunked head, backward pass, clipping, AdamW). What decides how a step is cut is real:
tokens, roles, positions. Each storage counts from its first use until it is freed. The step has two micro-batches
of 4096 tokens, and the optimiser has its moments. GB are 10^9 bytes.
Not counted: a GPU's context, its libraries' workspaces, and what its allocator cannot use.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from palu import models, tokens
from palu.methods import palu
from palu.models import AdapterBase
from palu.planning import sizes
from palu.planning.model import ModelFacts, of_architecture
from palu.roles import COMMON, END, PROMPT, SENSITIVE
from palu.spans import run_offsets
from palu.study import Study
from palu.training.checkpoints import Checkpoints
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import UnlearnObjective
from palu.training.plan import Plan

# Heads of 128; every one of the 7B has its own keys and values
SHAPES = {
    "llama-2-7b": {"vocab_size": 32000, "hidden_size": 4096, "layers": 32, "heads": 32, "kv_heads": 32}
    | {"intermediate_size": 11008, "max_positions": 4096},
    "llama-3.1-8b": {"vocab_size": 128256, "hidden_size": 4096, "layers": 32, "heads": 32, "kv_heads": 8}
    | {"intermediate_size": 14336, "max_positions": 8192},
}


class Case(NamedTuple):
    """What a step is run with, besides the shape. ddp: as in one of several processes."""

    dtype: str = "bfloat16"
    training: Mapping[str, Any] = MappingProxyType({})
    recomputed: bool = False
    ddp: bool = False

    def __str__(self) -> str:
        told = [self.dtype, *(f"{key} {value}" for key, value in self.training.items())]
        return ", ".join([*told, *(["recomputed"] if self.recomputed else []), *(["DDP"] if self.ddp else [])])


CASES = [
    Case(),
    Case(recomputed=True),
    Case(ddp=True, recomputed=True),
    Case("float32", recomputed=True),
    Case("float32", {"mixed_precision": "bf16"}),
    Case("float32", {"mixed_precision": "bf16"}, recomputed=True),
    Case("bfloat16", {"optimizer": "adamw_8bit"}, recomputed=True),
    Case("bfloat16", {"lora": {"rank": 16}}),
    Case("bfloat16", {"lora": {"rank": 16}}, recomputed=True),
]


class Ledger(TorchDispatchMode):
    """The bytes of every storage that an operation made or was given, while it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def enter(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen[storage] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._leave, storage.nbytes())

    def _leave(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = self._run(func, args, kwargs or {})
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.enter(tensor)
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        aten = torch.ops.aten
        if not any(isinstance(leaf, FakeTensor) for leaf in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        # a number that no one knows: every sum is 1, and no row's weight differs from the one that was given
        if func is aten._local_scalar_dense.default:
            return 1.0
        if func is aten.nonzero.default:
            return torch.zeros(0, args[0].ndim, dtype=torch.int64)
        if func in (aten.index.Tensor, aten.index_put_.default):
            # which positions a mask chooses is known: the mask is real
            places = [_places(index) for index in args[1]]
            args = (args[0], [place for some in places for place in some], *args[2:])
        return func(*args, **kwargs)


def _places(index: torch.Tensor | None) -> list[torch.Tensor | None]:
    if index is None or index.dtype != torch.bool:
        return [index]
    return list(index.nonzero().unbind(1))


class Facts:
    """Stands for `References`: the reference's facts at a micro-batch's positions, all zeros."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        self.width, self.dtype = width, dtype

    def lookup(self, parts: Any) -> list[dict[str, torch.Tensor]]:
        chosen = int(palu.initiating(parts[0], palu.Settings().first_n).sum())
        states = torch.zeros(len(parts[0].role), self.width, dtype=self.dtype)
        top_k = torch.zeros(chosen, palu.Settings().top_k, dtype=torch.int32)
        return [{"reference_hidden": states, "reference_top_k": top_k}, {}, {}]


def draw_rows(count: int, length: int, name: str) -> list[tokens.TokenRow]:
    """Rows of `length` tokens, half of them a reply in which three of every ten are a sensitive run."""
    role = np.full(length, COMMON, dtype=np.int8)
    role[: length // 2] = PROMPT
    role[length // 2 : -1][np.arange(length - length // 2 - 1) % 10 >= 7] = SENSITIVE
    role[-1] = END
    ids, nowhere, offset = np.ones(length, np.int32), np.zeros(length, np.int32), run_offsets(role == SENSITIVE)
    return [
        tokens.TokenRow(f"{name}/{i}", ids, length // 2, role, offset, nowhere, nowhere, truncated=False)
        for i in range(count)
    ]


def study_of(shape: dict[str, int], case: Case) -> Study:
    """The study whose first run the step is of: the defaults, with the case's changes."""
    values = {
        "study": "s",
        "benchmark": {"name": "village"},
        "taggers": {"gold": {"name": "annotations"}},
        "model": {"architecture": shape, "dtype": case.dtype},
        "methods": {"palu": {}},
        "training": dict(case.training),
        "machine": {"gradient_checkpointing": case.recomputed},
    }
    return Study.parse(values, "study.yaml")


def fake_model(shape: dict[str, int], dtype: str, case: Case) -> Any:
    """Made without numbers, then with FakeTensors in place of each parameter and buffer."""
    config = LlamaConfig(
        vocab_size=shape["vocab_size"],
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        intermediate_size=shape["intermediate_size"],
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    if (lora := study_of(shape, case).runs[0].training.lora) is not None:
        models.add_adapter(model, lora, AdapterBase("", None, ""), seed=0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    fake = torch.empty_like(parameter, device="cpu")
                    module._parameters[name] = nn.Parameter(fake, parameter.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty_like(buffer, device="cpu")
    return model


def counted(shape: dict[str, int], case: Case) -> float:
    """The peak of a step, in bytes."""
    study = study_of(shape, case)
    training = study.runs[0].training
    AcceleratorState._reset_state(reset_partial_state=True)
    dtype = training.weights_dtype(case.dtype)
    model = fake_model(shape, dtype, case)
    rows = training.batch_size
    ledger = Ledger()
    for tensor in [*model.parameters(), *model.buffers()]:
        ledger.enter(tensor)
    with tempfile.TemporaryDirectory() as folder, ledger:
        facts: Any = Facts(shape["hidden_size"], getattr(torch, dtype))
        objective = UnlearnObjective(model, palu, palu.Settings(), facts)
        # FakeTensors cannot be moved, and are where they shall be
        objective.to = lambda *_: objective  # type: ignore[method-assign]
        loop = Loop(
            objective,
            Rows(draw_rows(rows, 128, "forget"), draw_rows(rows, 128, "retain"), 0),
            Plan(0, rows, rows, rows, 2),
            training,
            Checkpoints(Path(folder), {}),
            Machine(**study.machine.model_dump()),
        )
        objective.adds_to_grad = not case.ddp
        # an update by nothing, which makes the moments
        for parameter in objective.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        loop.optimizer.step()
        loop.optimizer.zero_grad()
        ledger.peak = ledger.now
        loop._step(0)
    AcceleratorState._reset_state(reset_partial_state=True)
    return float(ledger.peak)


def predicted(shape: dict[str, int], case: Case) -> dict[str, float]:
    """What `palu check` says of the same run, in bytes."""
    study = study_of(shape, case)
    return sizes.run_memory(study.runs[0], facts_of(study), study)


def facts_of(study: Study) -> ModelFacts:
    assert study.model.architecture is not None
    return of_architecture(study.model.architecture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--layers", type=int, help="blocks (default: all 32)")
    options = parser.parse_args()
    for name in options.shape:
        shape = SHAPES[name] | ({"layers": options.layers} if options.layers else {})
        print(f"{name:60}{'counted':>9}{'palu check':>12}{'ratio':>7}")
        for case in CASES:
            peak, said = counted(shape, case) / 1e9, sum(predicted(shape, case).values()) / 1e9
            print(f"  {case!s:58}{peak:9.1f}{said:12.1f}{said / peak:7.2f}", flush=True)


if __name__ == "__main__":
    main()
