"""What a finished training leaves: model, models of kept epochs, steps.parquet, and run.json as its record."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import accelerate
import torch
import transformers

import palu
from palu import models
from palu.errors import UserError
from palu.files import remove_leftovers, write_json
from palu.training.card import Card
from palu.training.checkpoints import Checkpoints
from palu.training.loop import TrainingResult
from palu.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def versions(settings: TrainingSettings) -> dict[str, str]:
    """Of everything that a run's numbers may depend on besides its inputs."""
    optional = {"peft": settings.lora is not None, "bitsandbytes": settings.optimizer != "adamw"}
    return {
        "palu": palu.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "accelerate": accelerate.__version__,
        **{library: version(library) for library, is_used in optional.items() if is_used and find_spec(library)},
    }


def check_keep_epochs(keep_epochs: Collection[int], epochs: int) -> None:
    """Raise UserError for an epoch that the run does not have."""
    for epoch in keep_epochs:
        if not 1 <= epoch <= epochs:
            raise UserError(f"keep_epochs: epoch {epoch} is not in this run; allowed: 1 to {epochs}")


def deliver(
    out: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    result: TrainingResult,
    checkpoints: Checkpoints,
    keep_epochs: Collection[int],
    record: Mapping[str, Any],
    card: Card | None = None,
) -> None:
    """Write all outputs of a run, each atomically, run.json last; then remove its checkpoints.

    record: what run.json tells besides the facts that this function knows. card: the model's README.md, if any.
    """
    targets = {epoch: out / f"epoch{epoch}" / "model" for epoch in sorted(keep_epochs)}
    for path in (out / "model", *targets.values(), out / "steps.parquet", out / "run.json"):
        remove_leftovers(path)
    final = None if card is None else partial(card.text, result.epochs)
    models.save_model(model, tokenizer, out / "model", result.weights, final)
    for epoch, target in targets.items():
        if epoch <= result.epochs:
            checkpoints.deliver_kept_model(epoch, target)
        else:
            # training stopped before it, and the model stayed what it was
            models.save_model(model, tokenizer, target, result.weights, final)
    fingerprint = models.fingerprint(out / "model")
    result.log.write(out / "steps.parquet", {"model": fingerprint})
    seconds_per_step = {row["step"]: row["seconds"] for row in result.log.rows}
    facts = {
        **record,
        "identity": dict(checkpoints.identity),
        "device": _device_name(model),
        "threads": torch.get_num_threads(),
        "keep_epochs": sorted(keep_epochs),
        "keep_epochs_after_the_end": [epoch for epoch in sorted(keep_epochs) if epoch > result.epochs],
        "epochs": result.epochs,
        "validation_probabilities": result.validation,
        "processes": result.processes,
        "packed": result.packed,
        **({"packing_fault": result.packing_fault} if result.packing_fault else {}),
        "steps": len(seconds_per_step),
        "step_seconds": round(sum(seconds_per_step.values()), 3),
        "resumed_from_step": result.resumed_from,
        "model": fingerprint,
    }
    write_json(out / "run.json", facts)
    checkpoints.remove()


def _device_name(model: PreTrainedModel) -> str:
    device = model.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
