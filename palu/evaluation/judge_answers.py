"""What the original model makes of the answers that a model gave: one teacher-forced pass over them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from palu import tables
from palu.evaluation.base import EMPTY
from palu.evaluation.infer import Advance, Rows, Subject
from palu.evaluation.items import Example, Items, judged_parts
from palu.evaluation.logprobs import judge
from palu.evaluation.settings import EvaluationSettings
from palu.models import ModelSettings
from palu.progress import in_proportion
from palu.roles import END
from palu.stored import StoredByKey, StoredRows

ANSWERS_NAME = "answers.parquet"


def judge_answers(
    original_folder: Path,
    examples_path: Path,
    generations_path: Path,
    out: Path,
    model_settings: ModelSettings,
    settings: EvaluationSettings,
    device: str | None = None,
) -> None:
    """Write the mean negative log-likelihood per token of each answer to a prompt of `judged_parts`, under the model
    in `original_folder`: a table of scores. End tokens do not count; an empty answer has no value.

    A table that is there already, made from the same files and settings, is kept. settings: those of the evaluation
    that wrote `generations_path`. Raises UserError for damaged tables and those of other examples.
    """
    same = {"examples": tables.content_digest(examples_path)}
    texts = StoredByKey(StoredRows(generations_path, "generations", same, _texts))
    items = Items(StoredRows(examples_path, "examples"))
    parts = judged_parts(items.parts).values()

    def answered() -> Iterator[Example]:
        return (item.original for part in parts for item in items.of(part) if item.example_id in texts)

    original = Judge(original_folder, examples_path, model_settings, settings, device, generations_path, texts)
    if table := original.missing(out, "scores"):
        original.write_losses(table, answered)


def _texts(table: pa.Table) -> list[str]:
    return list(table["generation"].to_pylist())


@dataclass(eq=False)
class Judge(Subject):
    """The original as a judge of another model's answers, `texts` by example_id."""

    generations_path: Path
    texts: Mapping[str, str]

    @cached_property
    def provenance(self) -> dict[str, str]:
        """All that the table depends on; `model` is the one that answered."""
        own = super().provenance
        model = tables.provenance(self.generations_path).get("model", "")
        return own | {
            "judge": own["model"],
            "model": model,
            "generations": tables.content_digest(self.generations_path),
        }

    def write_losses(self, path: Path, answered: Rows) -> None:
        """The losses of the answers to the prompts of `answered`."""
        self._write(path, "scores", "answers", answered, self._judged)

    def _judged(self, window: Sequence[Example], advance: Advance) -> pa.Table:
        answered = [{**row, "reply": self.texts[row["example_id"]]} for row in window]
        # a text of white space, or of what the tokenizer drops, has no token to judge
        cut = self.tokenizer([row["reply"] for row in answered], add_special_tokens=False)["input_ids"]
        rows = self.encoded([row for row, ids in zip(answered, cut, strict=True) if ids and row["reply"].strip()])
        finished = in_proportion(advance, len(rows), len(window))
        found = {}
        for row, judged in zip(rows, judge(self.model, rows, int(self.tokenizer.pad_token_id), finished), strict=True):
            log_probs = judged.log_probs[row.role[row.first_target :] != END]
            found[row.example_id] = -float(log_probs.mean(dtype="float64")) if len(log_probs) else None
        scores = [_score(row["example_id"], found.get(row["example_id"])) for row in window]
        return pa.Table.from_pylist(scores, schema=tables.SCORES)


def _score(example_id: str, loss: float | None) -> dict[str, object]:
    reason = EMPTY.reason if loss is None else None
    if loss is not None and not math.isfinite(loss):
        loss, reason = None, f"its loss under the original is {loss}"
    return {"run": "", "example_id": example_id, "metric": "answer_loss", "value": loss, "reason": reason}
