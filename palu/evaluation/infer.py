"""The model part of an evaluation: greedy answers and teacher-forced log-probabilities, written as two tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from palu import tables
from palu.errors import UserError
from palu.evaluation.generate import generate
from palu.evaluation.items import asked_rows, evaluated_items, read_rows
from palu.evaluation.logprobs import judge, to_table
from palu.evaluation.settings import EvaluationSettings
from palu.files import canonical_json
from palu.models import (
    ModelSettings,
    TemplateSettings,
    chosen_device,
    fingerprint,
    load_model,
    load_tokenizer,
    tokenizer_fingerprint,
)
from palu.tokens import encode

GENERATIONS_NAME = "generations.parquet"
LOGPROBS_NAME = "logprobs.parquet"


def infer(
    model_folder: Path,
    examples_path: Path,
    out_folder: Path,
    model_settings: ModelSettings,
    settings: EvaluationSettings,
    device: str | None = None,
) -> None:
    """Write generations.parquet and logprobs.parquet of the model in `model_folder`.

    A table that stands there already, made from the same model, examples and settings, is kept: an evaluation that
    was killed goes on with what is missing. model_settings: template, length limit and dtype are read from it.
    device: such as `cuda:1`; none = a GPU where there is one.
    Raises UserError for a folder without a model, examples without a row of the chosen parts, and a row whose prompt
    leaves its reply no room.
    """
    examples = tables.rows(examples_path, "examples")
    items = [item for part in settings.parts for item in evaluated_items(examples, part)]
    if not items:
        raise UserError(f"{examples_path}: no row of the parts {', '.join(settings.parts)}: nothing to evaluate")
    asked, read = list(asked_rows(items, settings)), list(read_rows(items, settings))
    provenance = _provenance(model_folder, examples_path, model_settings, settings)
    generations_path, logprobs_path = out_folder / GENERATIONS_NAME, out_folder / LOGPROBS_NAME
    missing = [
        name
        for name, path in (("generations", generations_path), ("logprobs", logprobs_path))
        if not _is_current(path, name, provenance)
    ]
    if not missing:
        return

    tokenizer = load_tokenizer(model_folder)
    model = load_model(model_folder, model_settings.dtype)
    model.to(chosen_device(device))  # type: ignore[arg-type]
    template = TemplateSettings(**model_settings.model_dump(include=set(TemplateSettings.model_fields)))
    if "logprobs" in missing:
        rows = encode(read, tokenizer, template, model_settings.max_length)
        with tqdm(total=len(rows), desc="log-probabilities", unit="row", mininterval=1) as bar:
            judged = judge(model, rows, int(tokenizer.pad_token_id), bar.update)
        tables.write(logprobs_path, "logprobs", to_table(rows, judged), provenance)
    if "generations" in missing:
        with tqdm(total=len(asked), desc="generations", unit="row", mininterval=1) as bar:
            answers = generate(
                model, tokenizer, asked, template, model_settings.max_length, settings.max_new_tokens, bar.update
            )
        found = [
            {"example_id": row["example_id"], "generation": answer.text, "token_count": answer.token_count}
            for row, answer in zip(asked, answers, strict=True)
        ]
        tables.write(generations_path, "generations", found, provenance)


def _provenance(
    model_folder: Path, examples_path: Path, model_settings: ModelSettings, settings: EvaluationSettings
) -> dict[str, str]:
    """All that the two tables depend on."""
    template = {"template"} if model_settings.template != "chat" else {"template", "system_prompt", "date"}
    return {
        "model": fingerprint(model_folder),
        "tokenizer": tokenizer_fingerprint(model_folder),
        "examples": tables.content_digest(examples_path),
        "template": canonical_json(model_settings.model_dump(mode="json", include=template)),
        "max_length": str(model_settings.max_length),
        "dtype": model_settings.dtype,
        "settings": canonical_json(settings.model_part),
    }


def _is_current(path: Path, name: str, provenance: Mapping[str, str]) -> bool:
    if not path.exists():
        return False
    try:
        tables.read(path, name, provenance)
    except UserError:
        return False
    return True
