"""The model part of an evaluation: what the model answers, how probable it finds given replies, how a row moves it.

Each pass over the model writes one table, and none is made twice: an evaluation that was killed goes on with the
passes that are missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from palu import tables
from palu.errors import UserError
from palu.evaluation.generate import Generation, generate
from palu.evaluation.gradnorm import gradient_norms
from palu.evaluation.items import Example, Item, Items, asked_rows, attacked_among, attacked_rows, read_rows
from palu.evaluation.logprobs import judge, to_table
from palu.evaluation.settings import EvaluationSettings
from palu.files import canonical_json
from palu.models import (
    ModelSettings,
    TemplateSettings,
    chosen_device,
    computing_in,
    fingerprint,
    load_model,
    load_tokenizer,
    tokenizer_fingerprint,
    weights_dtype,
)
from palu.progress import in_proportion, progress_bar
from palu.stored import StoredRows, write_stream
from palu.stretches import windows
from palu.tokens import TokenRow, encode

# Rows that are gone through twice: to count them, and a window at a time
Rows = Callable[[], Iterator[Example]]
Advance = Callable[[int], object]

GENERATIONS_NAME = "generations.parquet"
LOGPROBS_NAME = "logprobs.parquet"
GRADIENT_NORMS_NAME = "gradient_norms.parquet"
REFERENCE_NAME = "reference.parquet"


def infer(
    model_folder: Path,
    examples_path: Path,
    out_folder: Path,
    model_settings: ModelSettings,
    settings: EvaluationSettings,
    device: str | None = None,
) -> None:
    """Write logprobs.parquet, generations.parquet and gradient_norms.parquet of the model in `model_folder`.

    A table that stands there already, made from the same model, examples and settings, is kept. model_settings:
    template, length limit and dtype are read from it. device: such as `cuda:1`; none = a GPU where there is one.
    Raises UserError for a folder without a model, examples without a row of the chosen parts, and a row whose prompt
    leaves its reply no room.
    """
    by_part = _chosen_items(examples_path, settings)
    attacked = attacked_among(by_part)
    subject = Subject(model_folder, examples_path, model_settings, settings, device)
    if table := subject.missing(out_folder / LOGPROBS_NAME, "logprobs"):
        subject.write_logprobs(table, lambda: read_rows(_all(by_part), settings), attacked)
    if table := subject.missing(out_folder / GENERATIONS_NAME, "generations"):
        subject.write_generations(table, lambda: asked_rows(_all(by_part), settings))
    if table := subject.missing(out_folder / GRADIENT_NORMS_NAME, "scores"):
        subject.write_gradient_norms(table, lambda: attacked_rows(by_part if settings.gradient_norms else {}))


def infer_reference(
    model_folder: Path,
    examples_path: Path,
    out_folder: Path,
    model_settings: ModelSettings,
    settings: EvaluationSettings,
    device: str | None = None,
) -> None:
    """Write reference.parquet: the log-probabilities of another model on the rows that the attacks read.

    The arguments and errors are those of `infer`. Examples without held-out rows give an empty table.
    """
    by_part = _chosen_items(examples_path, settings)
    subject = Subject(model_folder, examples_path, model_settings, settings, device)
    if table := subject.missing(out_folder / REFERENCE_NAME, "logprobs"):
        subject.write_logprobs(table, lambda: attacked_rows(by_part), [])


def _chosen_items(examples_path: Path, settings: EvaluationSettings) -> dict[str, Sequence[Item]]:
    items = Items(StoredRows(examples_path, "examples"), settings.max_items)
    by_part: dict[str, Sequence[Item]] = {part: items.of(part) for part in settings.parts}
    if not any(by_part.values()):
        raise UserError(f"{examples_path}: no row of the parts {', '.join(settings.parts)}: nothing to evaluate")
    return by_part


def _all(by_part: Mapping[str, Sequence[Item]]) -> Iterator[Item]:
    return chain.from_iterable(by_part.values())


@dataclass(eq=False)
class Subject:
    """A model under evaluation; it is loaded when the first of its tables turns out to be missing."""

    folder: Path
    examples_path: Path
    model_settings: ModelSettings
    settings: EvaluationSettings
    device: str | None
    template: TemplateSettings = field(init=False)

    def __post_init__(self) -> None:
        kept = self.model_settings.model_dump(include=set(TemplateSettings.model_fields))
        self.template = TemplateSettings(**kept)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        return load_tokenizer(self.folder)

    @cached_property
    def model(self) -> PreTrainedModel:
        model = load_model(self.folder, self.dtype)
        model.to(chosen_device(self.device))  # type: ignore[arg-type]
        return model

    @property
    def dtype(self) -> str:
        """That of the weights."""
        return weights_dtype(self.model_settings.dtype, self.settings.mixed_precision)

    @cached_property
    def provenance(self) -> dict[str, str]:
        """All that the tables depend on."""
        settings = self.model_settings
        template = {"template"} if settings.template != "chat" else {"template", "system_prompt", "date"}
        return {
            "model": fingerprint(self.folder),
            "tokenizer": tokenizer_fingerprint(self.folder),
            "examples": tables.content_digest(self.examples_path),
            "template": canonical_json(settings.model_dump(mode="json", include=template)),
            "max_length": str(settings.max_length),
            "dtype": self.dtype,
            "settings": canonical_json(self.settings.model_part),
        }

    def missing(self, path: Path, name: str) -> Path | None:
        """The path where no current table of this kind stands there, else None."""
        if path.exists():
            try:
                for _ in tables.iterate(path, name, self.provenance):
                    pass
            except UserError:
                return path
            return None
        # a folder without a model is told before anything is computed
        return path if self.provenance else None

    def encoded(self, rows: Sequence[Example]) -> list[TokenRow]:
        return encode(rows, self.tokenizer, self.template, self.model_settings.max_length)

    def write_logprobs(self, path: Path, read: Rows, attacked: Collection[str]) -> None:
        """The log-probabilities of `read`, with the moments that attacks need of the originals of some parts."""
        model = self.model

        def table_of(window: Sequence[Example], advance: Advance) -> pa.Table:
            rows = self.encoded(window)
            wanted = {row["example_id"] for row in window if row["part"] in attacked and _is_original(row)}
            told = in_proportion(advance, len(rows), len(window))
            return to_table(rows, judge(model, rows, int(self.tokenizer.pad_token_id), told, wanted))

        self._write(path, "logprobs", "log-probabilities", read, table_of)

    def write_generations(self, path: Path, asked: Rows) -> None:
        """The greedy answers to the prompts of `asked`."""
        model, length = self.model, self.model_settings.max_length

        def table_of(window: Sequence[Example], advance: Advance) -> pa.Table:
            limits = [self.settings.new_tokens(row["part"]) for row in window]
            answers: dict[str, Generation] = {}
            for limit in sorted(set(limits)):
                rows = [row for row, own in zip(window, limits, strict=True) if own == limit]
                found = generate(model, self.tokenizer, rows, self.template, length, limit, advance)
                answers |= {row["example_id"]: answer for row, answer in zip(rows, found, strict=True)}
            written = [
                {"example_id": row["example_id"], "generation": answer.text, "token_count": answer.token_count}
                for row, answer in ((row, answers[row["example_id"]]) for row in window)
            ]
            return pa.Table.from_pylist(written, schema=tables.GENERATIONS)

        self._write(path, "generations", "generations", asked, table_of)

    def write_gradient_norms(self, path: Path, attacked: Rows) -> None:
        """The gradient norms of `attacked`."""

        def table_of(window: Sequence[Example], advance: Advance) -> pa.Table:
            rows = self.encoded(window)
            norms = gradient_norms(self.model, rows, in_proportion(advance, len(rows), len(window)))
            found = [_norm_row(row, norm) for row, norm in zip(window, norms, strict=True)]
            return pa.Table.from_pylist(found, schema=tables.SCORES)

        self._write(path, "scores", "gradient norms", attacked, table_of)

    def _write(
        self, path: Path, name: str, what: str, rows: Rows, table_of: Callable[[Sequence[Example], Advance], pa.Table]
    ) -> None:
        """Write a table a window of rows at a time, with a bar that counts rows."""
        precision = computing_in(self.model, self.settings.mixed_precision)
        with progress(what, sum(1 for _ in rows())) as advance, precision:
            write_stream(path, name, (table_of(window, advance) for window in windows(rows())), self.provenance)


def _is_original(row: Example) -> bool:
    return bool(row["reply_kind"] == "original" and row["prompt_kind"] == "original")


def _norm_row(row: Mapping[str, Any], norm: float) -> dict[str, Any]:
    reason = None if math.isfinite(norm) else f"the gradient's norm is {norm}"
    value = norm if reason is None else None
    return {"run": "", "example_id": row["example_id"], "metric": "gradient_norm", "value": value, "reason": reason}


@contextmanager
def progress(what: str, rows: int) -> Iterator[Callable[[int], object]]:
    """A bar that is told how many rows are done."""
    with progress_bar(what, rows, "row") as bar:
        yield bar.update
