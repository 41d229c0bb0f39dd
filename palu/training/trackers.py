"""Each step's numbers for TensorBoard or Weights & Biases, while a training runs. Off by default.

The trackers are accelerate's. What they write is for the eye: steps.parquet is the record, and no stage reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palu.errors import UserError
from palu.training.log import StepFacts
from palu.training.settings import TrainingSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT = "palu"


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError for a tracker whose library is missing: accelerate would leave it out without a word."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"machine.trackers: {name!r} needs the library {name}, which is missing: install it")


@contextmanager
def tracking(accelerator: Accelerator, settings: TrainingSettings, folder: Path, done_steps: int) -> Iterator[None]:
    """Run the trackers that `accelerator` was made with, if any, while a training runs.

    done_steps: steps that an interrupted run had done: what TensorBoard was told of later ones is taken back.
    """
    if not accelerator.log_with:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": done_steps + 1},
        "wandb": {"dir": str(folder), "name": str(folder.parent)},
    }
    accelerator.init_trackers(PROJECT, init_kwargs=options)
    for tracker in accelerator.trackers:
        if tracker.name == "wandb":
            tracker.store_init_configuration(settings.model_dump(mode="json"))
    try:
        yield
    finally:
        # not accelerate's end_training, which ends the process group too
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers = []


def tracked_values(facts: StepFacts) -> dict[str, float]:
    """What is shown of a step; a term without a unit in it is left out."""
    terms = {f"term/{term}": facts.mean(term) for term in facts.totals if facts.units[term]}
    return {"loss": facts.loss, **terms, "learning_rate": facts.learning_rate, "grad_norm": facts.grad_norm}
