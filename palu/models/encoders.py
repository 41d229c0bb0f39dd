"""Models that read a whole text at once, to judge or to tag it; they are never trained here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from palu.errors import UserError, first_line
from palu.models.adapters import is_adapter
from palu.models.foreign import check_numbers, errors_only, skeleton
from palu.models.storage import model_folder, weight_files
from palu.settings import unknown

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What an encoder is, in words -> its loader in transformers
KINDS = {
    "text classifier": "AutoModelForSequenceClassification",
    "token classifier": "AutoModelForTokenClassification",
    "masked language model": "AutoModelForMaskedLM",
}


def load_encoder(
    kind: str, folder_or_id: str | Path, revision: str | None = None, place: str = ""
) -> tuple[PreTrainedModel, Any]:
    """A model of one of `KINDS`, float32, on the CPU in evaluation mode, and its tokenizer.

    place: names the model in errors; default: its folder. Raises UserError for a folder or hub id that cannot be had,
    an unreadable tokenizer, weights that are no safetensors, and weights that lack what makes the model of this kind.
    """
    import transformers

    folder = model_folder(folder_or_id, revision)
    place = place or str(folder)
    weight_files(folder)
    if is_adapter(folder):
        raise UserError(f"{place}: an adapter, whose base the library would load; allowed: a full {kind}")
    skeleton(folder, KINDS[kind])
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True, truncation_side="right"
        )
    except Exception as error:
        # Rust's tokenizers raise a bare Exception for a damaged tokenizer.json
        raise UserError(f"{place}: holds no readable tokenizer: {first_line(error)}") from error
    try:
        with errors_only():
            model, report = getattr(transformers, KINDS[kind]).from_pretrained(
                str(folder),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:
        raise UserError(f"{place}: cannot be loaded as a {kind}: {first_line(error)}") from error
    gaps = sorted((*report["missing_keys"], *(name for name, *_shapes in report["mismatched_keys"])))
    if gaps:
        raise UserError(
            f"{place}: no {kind}: its weights hold no {gaps[0]!r} of the right shape ({len(gaps)} such gaps)"
        )
    check_numbers(model, place)
    return model.float().eval(), tokenizer


def class_index(model: PreTrainedModel, label: int | str, place: str) -> int:
    """The index of a classifier's class, given by index or by name. Raises UserError naming the known classes."""
    names = {int(index): str(name) for index, name in (model.config.id2label or {}).items()}
    for index, name in names.items():
        if label in (index, name):
            return index
    raise unknown("class", str(label), place, [f"{index} ({name})" for index, name in sorted(names.items())])
