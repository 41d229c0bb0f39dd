"""Text classifiers: judges of what a model writes, never trained here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from palu.errors import UserError
from palu.models.storage import first_line, model_folder, weight_files
from palu.settings import unknown

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_text_classifier(folder_or_id: str | Path, revision: str | None = None) -> tuple[PreTrainedModel, Any]:
    """A sequence-classification model, on the CPU in evaluation mode, and its tokenizer.

    Raises UserError for a folder or hub id that cannot be had, weights that are no safetensors, and a model that is
    no such classifier: one whose weights lack the classifying layer.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = model_folder(folder_or_id, revision)
    weight_files(folder)
    try:
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded as a text classifier: {first_line(error)}") from error
    model, report = loaded
    gaps = sorted(report["missing_keys"])
    if gaps:
        raise UserError(f"{folder}: not a text classifier: its weights hold no {gaps[0]!r}")
    return model.eval(), tokenizer


def class_index(model: PreTrainedModel, label: int | str, place: str) -> int:
    """The index of a classifier's class, given by index or by name. Raises UserError naming the known classes."""
    names = {int(index): str(name) for index, name in (model.config.id2label or {}).items()}
    for index, name in names.items():
        if label in (index, name):
            return index
    raise unknown("class", str(label), place, [f"{index} ({name})" for index, name in sorted(names.items())])
