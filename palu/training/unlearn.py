"""Make a model forget the rows of some parts: a method of `palu.methods` on forget rows and drawn retain rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palu import methods, models, tables
from palu.errors import UserError
from palu.methods.base import MethodSettings
from palu.models import ModelSettings
from palu.reference import reference_provenance
from palu.reference.cache import ReferencePaths, References
from palu.roles import COMMON, END
from palu.tokens import count_spans
from palu.training import results
from palu.training.card import card_of
from palu.training.checkpoints import Checkpoints
from palu.training.data import Examples
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import UnlearnObjective, micro_batch
from palu.training.plan import Plan, RowGroup, cut
from palu.training.rows import alternates_of, forget_and_retain, watched
from palu.training.settings import TrainingSettings
from palu.training.stop import Stop

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from palu.tokens import TokenRow


def unlearn(
    *,
    model_folder: Path,
    model_settings: ModelSettings,
    method_name: str,
    method_settings: MethodSettings,
    settings: TrainingSettings,
    examples_path: Path,
    seed: int,
    out: Path,
    spans_path: Path | None = None,
    reference_paths: ReferencePaths | None = None,
    alternates_path: Path | None = None,
    forget_parts: Sequence[str] = tables.FORGET_PARTS,
    retain_parts: Sequence[str] = ("retain",),
    keep_epochs: Collection[int] = (),
    checkpoint_folder: Path | None = None,
    machine: Machine | None = None,
) -> None:
    """Write `out`/model, epoch{e}/model for each of `keep_epochs`, steps.parquet and run.json.

    With `settings.lora` the models are adapters (see `palu.models.adapters`), and the run's model is their base.
    model_folder: the model that is to forget, which is also the method's frozen reference. model_settings: its
    template, length limit and dtype. spans_path: the sensitive spans, for a method that distinguishes tokens.
    reference_paths: cached facts of the reference, each needed only by a method whose `needs` name it.
    alternates_path: other replies to the forget rows' prompts, an examples table of `palu.benchmarks.alternates`.
    forget_parts: those that the examples hold are forgotten together; the first must be there.
    checkpoint_folder: where an interrupted run keeps its state (default: `out`/.checkpoint).
    Raises UserError for bad inputs, a loss that is not finite and a full disk.
    """
    started_at = time.monotonic()
    reference_paths = reference_paths or ReferencePaths()
    results.check_keep_epochs(keep_epochs, settings.epochs)
    _check_settings(method_name, method_settings, spans_path)
    tokenizer = models.load_tokenizer(model_folder)
    examples = Examples(examples_path)
    forget, retain = forget_and_retain(tokenizer, model_settings, examples, spans_path, forget_parts, retain_parts)
    stop = Stop(settings.stop.probability, watched(examples, forget)) if settings.stop else None
    alternates = []
    if "alternates" in method_settings.needs:
        alternates = alternates_of(tokenizer, model_settings, alternates_path, forget)
    expected = reference_provenance(model_folder, model_settings, settings.mixed_precision)
    reference = References(
        method_settings.needs,
        reference_paths,
        expected,
        getattr(method_settings, "top_k", None),
        method_settings.reads_layer,
        getattr(method_settings, "first_n", None),
    )
    model = _model(model_folder, model_settings, settings, expected["model"], seed)
    objective = UnlearnObjective(model, methods.load(method_name), method_settings, reference)
    rows = Rows(forget, retain, cast(int, tokenizer.pad_token_id), alternates)
    units = _units(objective, rows.whole())
    _check_units(objective.weights, units, rows, f"{examples_path}: method {method_name!r}")
    identity = {
        "stage": "unlearn",
        "seed": seed,
        "method": method_name,
        "settings": method_settings.model_dump(mode="json"),
        "training": settings.model_dump(mode="json"),
        "parts": {"forget": list(forget_parts), "retain": list(retain_parts)},
        "inputs": expected
        | _digests(examples=examples_path, spans=spans_path, alternate_rows=alternates_path, **vars(reference_paths)),
        "keep_epochs": sorted(keep_epochs),
        "versions": results.versions(settings),
    }
    checkpoints = Checkpoints(checkpoint_folder or out / ".checkpoint", identity)
    plan = _plan(objective, rows, settings, seed)
    loop = Loop(objective, rows, plan, settings, checkpoints, machine or Machine(), out / "logs", stop)
    record = _counts(forget, method_settings, len(retain), model.config.vocab_size)
    record |= {"validation_rows": len(examples.by_part.get(tables.VALIDATION, [])), "units": units}
    asked = {"forget_rows": len({row.example_id for row in forget})}
    card = card_of(identity, record | asked, model_settings, examples_path)

    def keep(epoch: int, whole: dict[str, Tensor] | None) -> None:
        models.save_model(model, tokenizer, checkpoints.kept_model(epoch), whole, partial(card.text, epoch))

    result = loop.run(keep_epochs, keep)
    if result.is_main_process:
        record["seconds"] = round(time.monotonic() - started_at, 3)
        results.deliver(out, model, tokenizer, result, checkpoints, keep_epochs, record, card)


def _check_settings(name: str, method: MethodSettings, spans_path: Path | None) -> None:
    if "top_k" in method.needs and spans_path is None:
        raise UserError(f"method {name!r} acts on sensitive tokens, but no file of spans is given")


def _model(
    folder: Path, settings: ModelSettings, training: TrainingSettings, fingerprint: str, seed: int
) -> PreTrainedModel:
    """The model to train, with the adapter that the settings ask for."""
    model = models.load_model(folder, training.weights_dtype(settings.dtype))
    if training.lora is not None:
        models.add_adapter(model, training.lora, models.AdapterBase(str(folder), None, fingerprint), seed)
    return model


def _plan(objective: UnlearnObjective, rows: Rows, settings: TrainingSettings, seed: int) -> Plan:
    """Partners are drawn only for a method that reads any."""
    retain_units = _units(objective, RowGroup([], list(rows.partners), []))
    reads_retain = any(weight and retain_units[term] for term, weight in objective.weights.items())
    return Plan(
        seed,
        len(rows.items),
        len(rows.partners) if reads_retain else 0,
        settings.batch_size,
        settings.epochs,
        len(rows.alternates[0]) if rows.alternates else 0,
        settings.last_step,
        settings.retain_ratio,
    )


def _units(objective: UnlearnObjective, group: RowGroup) -> dict[str, int]:
    """The units of each term over these rows."""
    units = Counter(dict.fromkeys(objective.weights, 0))
    for part in cut(group, token_limit=2**20, packed=True):
        units.update(objective.units(micro_batch(part, pad_id=0, packed=True)))
    return dict(units)


def _check_units(weights: dict[str, float], units: dict[str, int], rows: Rows, place: str) -> None:
    """Raise UserError for a term that has a weight and nothing at all to sum over."""
    for term, weight in weights.items():
        if weight and not units[term]:
            sensitive = count_spans(rows.items).sensitive_tokens
            raise UserError(
                f"{place}: the term {term!r} has weight {weight:g} but nothing to act on: {len(rows.items)} forget "
                f"rows with {sensitive} sensitive tokens, {len(rows.partners)} retain rows; give it some, or weight 0"
            )


def _digests(**paths: Path | None) -> dict[str, str]:
    return {name: tables.content_digest(path) for name, path in paths.items() if path is not None}


def _counts(forget: Sequence[TokenRow], settings: MethodSettings, retain_rows: int, vocabulary: int) -> dict[str, Any]:
    """What run.json tells of the tokens: how many of each role, and what the method's N and K make of them."""
    counts = count_spans(forget)
    facts: dict[str, Any] = {
        "forget_rows": counts.rows,
        "retain_rows": retain_rows,
        "truncated_forget_rows": counts.truncated_rows,
        "forget_reply_tokens": counts.reply_tokens,
        "sensitive_tokens": counts.sensitive_tokens,
        "common_tokens": sum(int(((row.role == COMMON) | (row.role == END)).sum()) for row in forget),
        "spans_without_token": counts.uncovered,
        "spans_truncated": counts.truncated,
        "vocabulary": vocabulary,
    }
    if "first_n" in type(settings).model_fields:
        first_n = getattr(settings, "first_n")  # noqa: B009 - only some methods have it
        limit = counts.sensitive_tokens if first_n is None else first_n
        initiating = sum(int(((row.span_offset >= 0) & (row.span_offset < limit)).sum()) for row in forget)
        facts |= {
            "first_n": first_n,
            "initiating_tokens": initiating,
            "sensitive_tokens_past_first_n": counts.sensitive_tokens - initiating,
        }
    top_k = getattr(settings, "top_k", None)
    if top_k is not None:
        k = min(top_k, vocabulary)
        facts |= {"top_k": k, "top_k_share": k / vocabulary}
    return facts
