"""Train a model on its examples: the original (all data) and the retain model (without the forget set)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palu import models, tables
from palu.models import ModelSettings
from palu.models.gguf import is_gguf
from palu.tokens import count_spans, encode
from palu.training import results
from palu.training.checkpoints import Checkpoints
from palu.training.data import Example, Examples
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import LikelihoodObjective
from palu.training.plan import Plan
from palu.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def finetune(
    *,
    model_settings: ModelSettings,
    settings: FinetuneSettings,
    examples_path: Path,
    parts: Sequence[str],
    seed: int,
    out: Path,
    base: Path | None = None,
    tokenizer_parts: Sequence[str] | None = None,
    checkpoint_folder: Path | None = None,
    machine: Machine | None = None,
) -> None:
    """Write `out`/model, steps.parquet and run.json: the model after training on the rows of `parts`.

        L = mean over the reply and end tokens of a step of -log p(y_t | x, y_<t)

    The model starts from `model_settings.base_checkpoint`, or from nothing: then its tokenizer is trained on the rows
    of `tokenizer_parts` (default: `parts`). Name the same ones for the original and the retain model, and they share
    a tokenizer and the weights that they start from. base: the folder of the base checkpoint once it is fetched
    (default: it is read from where the settings say; a GGUF file must be fetched).
    checkpoint_folder: where an interrupted run keeps its state (default: `out`/.checkpoint).
    Raises UserError for bad inputs, a loss that is not finite and a full disk.
    """
    started_at = time.monotonic()
    examples = Examples(examples_path)
    chosen = examples.of(parts)
    model, tokenizer = _start(model_settings, settings, examples.of(tokenizer_parts or parts), seed, base)
    rows = encode(chosen, tokenizer, model_settings, model_settings.max_length)
    identity = {
        "stage": "finetune",
        "seed": seed,
        "parts": list(parts),
        "tokenizer_parts": list(tokenizer_parts or parts),
        "model_settings": model_settings.model_dump(mode="json", exclude={"name", "checkpoint", "retain_checkpoint"}),
        "training": settings.model_dump(mode="json"),
        "examples": tables.content_digest(examples_path),
        "start": _start_fingerprint(model_settings, base),
        "versions": results.versions(settings),
    }
    checkpoints = Checkpoints(checkpoint_folder or out / ".checkpoint", identity)
    plan = Plan(seed, len(rows), 0, settings.batch_size, settings.epochs, last_step=settings.last_step)
    pad_id = cast(int, tokenizer.pad_token_id)
    objective, data = LikelihoodObjective(model), Rows(rows, [], pad_id)
    loop = Loop(objective, data, plan, settings, checkpoints, machine or Machine(), out / "logs")
    result = loop.run(keep_epochs=(), save_model=lambda *_: None)
    if result.is_main_process:
        counts = count_spans(rows)
        record = {
            "rows": counts.rows,
            "truncated_rows": counts.truncated_rows,
            "reply_tokens": counts.reply_tokens,
            "vocabulary": model.config.vocab_size,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seconds": round(time.monotonic() - started_at, 3),
        }
        results.deliver(out, model, tokenizer, result, checkpoints, (), record)


def _start(
    settings: ModelSettings,
    training: FinetuneSettings,
    tokenizer_rows: Sequence[Example],
    seed: int,
    base: Path | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    training.check_start(settings)
    if settings.base_checkpoint is not None:
        place, revision = _base(settings, base)
        model = models.load_model(place, training.weights_dtype(settings.dtype), revision)
        if training.lora is not None:
            # an adapter names its base as the study does, but for a GGUF file, which is no model folder
            named = _base(settings, base if is_gguf(settings.base_checkpoint) else None)
            models.add_adapter(
                model, training.lora, models.AdapterBase(*named, _start_fingerprint(settings, base)), seed
            )
        return model, models.load_tokenizer(place, revision)
    assert settings.architecture is not None
    texts = [_text(settings, row) for row in tokenizer_rows]
    return models.build_from_scratch(settings.architecture, texts, seed)


def _text(settings: ModelSettings, row: Example) -> str:
    # there is no tokenizer yet, and the templates that need none are the only ones left here
    prompt = models.render_prompt(settings.template, row["prompt"], cast(Any, None))
    return f"{prompt.text}{row['reply']}"


def _base(settings: ModelSettings, base: Path | None) -> tuple[str, str | None]:
    """The folder or the hub id to read the base checkpoint from, and its revision."""
    if base is not None:
        return str(base), None
    return cast(str, settings.base_checkpoint), settings.base_revision


def _start_fingerprint(settings: ModelSettings, base: Path | None) -> str:
    if settings.base_checkpoint is None:
        return "scratch"
    return models.fingerprint(models.model_folder(*_base(settings, base)))
