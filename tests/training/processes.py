"""What each process of a distributed test runs: `torchrun processes.py JOB`, JOB being a JSON file of unlearning runs.

With `sharded` the processes shard the model as FSDP2 does on GPUs. accelerate offers that on accelerators only, so
its state is told here that this is such a training; everything after that is what runs on GPUs, over gloo.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from palu import methods
from palu.files import write_json
from palu.models import ModelSettings
from palu.reference.cache import ReferencePaths
from palu.training import unlearn as room
from palu.training.loop import Loop, Machine, TrainingResult
from palu.training.settings import TrainingSettings
from palu.training.unlearn import unlearn


def as_json(inputs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `unlearn` as plain values."""
    plain = dict(inputs)
    plain["model_settings"] = inputs["model_settings"].model_dump(mode="json")
    plain["reference_paths"] = {name: path and str(path) for name, path in vars(inputs["reference_paths"]).items()}
    return {name: str(value) if isinstance(value, Path) else value for name, value in plain.items()}


def from_json(plain: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `as_json`."""
    inputs = {name: Path(value) if name.endswith(("_path", "_folder")) else value for name, value in plain.items()}
    inputs["model_settings"] = ModelSettings.parse(plain["model_settings"], "job")
    paths = {name: path and Path(path) for name, path in plain["reference_paths"].items()}
    return inputs | {"reference_paths": ReferencePaths(**paths)}


class Interrupted(Exception):
    """Stands for whatever stops a program."""


class WatchedLoop(Loop):
    """A loop that writes down how its model is spread over the processes."""

    def run(self, *arguments: Any) -> TrainingResult:
        parameters = list(self.module.parameters())
        write_json(
            self.log_folder.parent.with_suffix(".json"),
            {
                "distributed_type": str(self.accelerator.distributed_type),
                # two names of one memory, and not two copies of all gradients
                "gradients_are_views": getattr(self.module, "gradient_as_bucket_view", None),
                "units": [name for name, part in self.objective.named_modules() if isinstance(part, FSDPModule)],
                "numbers": sum(parameter.numel() for parameter in parameters),
                "numbers_here": sum(
                    (parameter.to_local() if isinstance(parameter, DTensor) else parameter).numel()
                    for parameter in parameters
                ),
            },
        )
        return super().run(*arguments)


def run(job: dict[str, Any], folder: Path) -> None:
    """One run of a job: method, own (its settings), training, machine, inputs, keep_epochs; stop_after: a step."""

    def after_step(step: int) -> None:
        if step == job.get("stop_after"):
            raise Interrupted

    with suppress(Interrupted):
        unlearn(
            **from_json(job["inputs"]),
            method_name=job["method"],
            method_settings=methods.load(job["method"]).Settings.parse(job.get("own", {}), "job"),
            settings=TrainingSettings.parse(job["training"], "job"),
            out=folder / job["out"],
            keep_epochs=job.get("keep_epochs", []),
            machine=Machine(**job.get("machine", {}), after_step=after_step),
        )


def main(path: Path) -> None:
    jobs = json.loads(path.read_text(encoding="utf-8"))
    if jobs["sharded"]:
        Accelerator().state.fsdp_plugin = FullyShardedDataParallelPlugin()
        # each new accelerator takes it over from here
        PartialState().distributed_type = DistributedType.FSDP
    room.Loop = WatchedLoop  # type: ignore[misc]
    for job in jobs["runs"]:
        run(job, path.parent)
    # the end of a process must not look to the other like its failure
    Accelerator().wait_for_everyone()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
