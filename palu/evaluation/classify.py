"""How natural a classifier finds what a model writes: the part of fluency that needs a second model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from palu import tables
from palu.errors import UserError
from palu.evaluation.items import VERBMEM, Items, prompted_part
from palu.evaluation.settings import FluencySettings
from palu.models import chosen_device
from palu.models.encoders import class_index, load_encoder
from palu.progress import progress_bar
from palu.stored import StoredRows

FLUENCY_NAME = "fluency.parquet"
BATCH_ROWS = 32
# Tokens of a text that the classifier reads, by the part that is asked. OpenUnlearning's configs have 32 for TOFU
# (eval/tofu_metrics/forget_Q_A_gibberish.yaml) and 512 for MUSE (eval/muse_metrics/forget_gibberish.yaml).
MAX_LENGTHS = {"forget": 32, VERBMEM: 512}


def classify(
    examples_path: Path, generations_path: Path, out: Path, settings: FluencySettings, device: str | None = None
) -> None:
    """Write the probability of the settings' class for each generation of the forget part (MUSE: verbmem), a
    table of scores.

    A classifier that cannot be had is no error: every value is then missing, with the reason, and the next call tries
    again. Raises UserError for damaged tables and a class that the classifier does not have.
    """
    items = Items(StoredRows(examples_path, "examples"))
    same = {"examples": tables.content_digest(examples_path)}
    found = tables.rows(generations_path, "generations", same)
    texts = {row["example_id"]: row["generation"] for row in found}
    part = prompted_part(items.parts)
    max_length = settings.max_length or MAX_LENGTHS[part]
    asked = [item.example_id for item in items.of(part) if item.example_id in texts]
    values: Sequence[float] | None = None
    reason = None
    try:
        model, tokenizer = load_encoder("text classifier", settings.classifier or "", settings.revision)
    except UserError as error:
        reason = f"the classifier cannot be had: {error}"
    else:
        index = class_index(model, settings.label, f"evaluation.fluency.label of {settings.classifier}")
        model.to(chosen_device(device))  # type: ignore[arg-type]
        values = probabilities(model, tokenizer, [texts[example_id] for example_id in asked], index, max_length)
    rows = [
        {
            "run": "",
            "example_id": example_id,
            "metric": "fluency",
            "value": None if values is None else values[i],
            "reason": reason,
        }
        for i, example_id in enumerate(asked)
    ]
    facts = {key: value for key, value in tables.provenance(generations_path).items() if key in {"model", "examples"}}
    tables.write(out, "scores", rows, facts | {"classifier": settings.key, "max_length": str(max_length)})


@torch.inference_mode()
def probabilities(model: Any, tokenizer: Any, texts: Sequence[str], index: int, max_length: int) -> list[float]:
    """The classifier's probability of class `index` for each text, cut at `max_length` tokens."""
    found: list[float] = []
    with progress_bar("fluency", len(texts), "row") as bar:
        for start in range(0, len(texts), BATCH_ROWS):
            batch = list(texts[start : start + BATCH_ROWS])
            encoded = tokenizer(batch, return_tensors="pt", padding=True, truncation=True, max_length=max_length)
            logits = model(**encoded.to(model.device)).logits.float()
            found += logits.softmax(-1)[:, index].tolist()
            bar.update(len(batch))
    return found
