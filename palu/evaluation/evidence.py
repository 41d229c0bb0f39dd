"""What the model part found out, read back for arithmetic: no torch, no tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palu import tables
from palu.evaluation.base import NO_ORIGINAL, NO_RETAIN, ItemScores, Missing, Scope, Value, row_value
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.items import PARTS, SIDES, Example, Item, Items
from palu.evaluation.settings import EvaluationSettings
from palu.span_tables import read_spans
from palu.spans import Span
from palu.stored import StoredByKey, StoredRows


@dataclass(frozen=True, eq=False)
class Reading:
    """One row under teacher forcing: P predicted tokens, the reply's and, last, the `end_count` tokens of its end.

    log_probs: (P,) float64, natural. hits: (P,) bool, whether the token is the model's first choice.
    char_starts, char_ends: (P,), the token's characters in the reply; 0, 0 for those of the end.
    expected, variance: (P,) float64, mean and variance of log p under the model's own distribution; None where they
    were not computed.
    """

    log_probs: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    char_starts: npt.NDArray[np.int32]
    char_ends: npt.NDArray[np.int32]
    end_count: int
    expected: npt.NDArray[np.float64] | None = None
    variance: npt.NDArray[np.float64] | None = None

    @cached_property
    def fault(self) -> str | None:
        """What is wrong with the numbers of this row, if anything: a collapsed model yields NaN or infinity, a
        damaged table anything."""
        if not len(self.log_probs):
            return "no token of the reply was predicted"
        # no probability is over 1; what rounding adds to its logarithm is far below this
        broken = np.flatnonzero(~np.isfinite(self.log_probs) | (self.log_probs > 1))
        if not len(broken):
            return None
        return f"the log-probability of predicted token {broken[0]} is {self.log_probs[broken[0]]}"

    @cached_property
    def loss(self) -> Value:
        """Mean negative log-likelihood over the tokens of the reply and its end, in nats."""
        return Missing(self.fault) if self.fault else float(-self.log_probs.mean())


RowValues = Mapping[str, Value] | Missing
NOT_GIVEN = {
    "gradient norms": Missing("no gradient norms were computed (evaluation.gradient_norms)"),
    "reference model": Missing("no reference model was given"),
    "classifier": Missing("no classifier was asked (evaluation.fluency.classifier)"),
    "original": Missing("no original model was given to judge the answers"),
}
NO_SPANS = Missing("no spans were given")


def _of(values: RowValues, example_id: str) -> Value:
    if isinstance(values, Missing):
        return values
    return values.get(example_id, Missing(f"there is no value of {example_id}"))


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that the metrics of one model are computed from.

    items: part -> its evaluated items. readings, generations: by example_id.
    spans: sensitive characters of a reply, by example_id; None where no tagger's spans were given. gold: the
    benchmark's own, of every part; None where they were not given.
    continuation_tokens: how many tokens of a document's true continuation the answer is compared with.
    gradient_norms, fluencies: by example_id, from passes of their own. reference_losses: by example_id, of the other
    model. answer_losses: by example_id, what the original makes of the generation. Each is Missing where it was not
    given.
    """

    scope: Scope
    items: Mapping[str, Sequence[Item]]
    readings: Mapping[str, Reading]
    generations: Mapping[str, str]
    spans: Mapping[str, Sequence[Span]] | None
    first_n: int | None
    continuation_tokens: int
    gradient_norms: RowValues = NOT_GIVEN["gradient norms"]
    reference_losses: RowValues = NOT_GIVEN["reference model"]
    fluencies: RowValues = NOT_GIVEN["classifier"]
    answer_losses: RowValues = NOT_GIVEN["original"]
    gold: Mapping[str, Sequence[Span]] | None = None

    def beside(
        self, retain: ItemScores | None, retain_auc: float | None, original: ItemScores | None = None
    ) -> Evidence:
        """The same next to a retain model and the original one, as far as they were given.

        The retain model's losses are the reference's where no other model's were given.
        """
        losses = self.reference_losses
        if isinstance(losses, Missing) and retain is not None:
            losses = ScoreColumn(pair for side in SIDES for pair in retain.get(f"{side}_mia_loss", {}).items())
        scope = replace(
            self.scope,
            retain=NO_RETAIN if retain is None else retain,
            retain_auc=retain_auc,
            original=NO_ORIGINAL if original is None else original,
        )
        return replace(self, scope=scope, reference_losses=losses or NOT_GIVEN["reference model"])

    def gradient_norm(self, example_id: str) -> Value:
        """The norm of the gradient of the row's loss."""
        return _of(self.gradient_norms, example_id)

    def reference_loss(self, example_id: str) -> Value:
        """The other model's loss of the row."""
        return _of(self.reference_losses, example_id)

    def fluency(self, example_id: str) -> Value:
        """The classifier's probability that the row's generation is clean text."""
        return _of(self.fluencies, example_id)

    def answer_loss(self, example_id: str) -> Value:
        """The original's mean negative log-likelihood of the row's generation, per token."""
        return _of(self.answer_losses, example_id)

    def reading(self, example: Example) -> Reading | Missing:
        """The row's reading; Missing where it was not evaluated or its numbers are not finite."""
        found = self.readings.get(example["example_id"])
        if found is None:
            return Missing(f"{example['example_id']} was not given to the model")
        return Missing(found.fault) if found.fault else found

    def loss(self, example: Example) -> Value:
        """The row's mean negative log-likelihood, or why there is none; a wrong reply's reason names the row."""
        found = self.reading(example)
        return found if isinstance(found, Missing) else found.loss


@dataclass(frozen=True)
class EvidencePaths:
    """The files that evidence is gathered from; those that may be absent are None.

    spans: of whichever tagger; gold: the benchmark's own. reference: another model's log-probabilities, from which its
    losses are read. answers: what the original makes of the generations.
    """

    examples: Path
    generations: Path
    logprobs: Path
    spans: Path | None = None
    gradient_norms: Path | None = None
    fluency: Path | None = None
    reference: Path | None = None
    answers: Path | None = None
    gold: Path | None = None


def gather(paths: EvidencePaths, settings: EvaluationSettings) -> Evidence:
    """The tables, joined; their rows are read as the metrics come to them. settings: first_n, max_items and
    verbmem_new_tokens are read.

    Raises UserError where tables are damaged, or of other examples or models.
    """
    items = Items(StoredRows(paths.examples, "examples"), settings.max_items)
    of_examples = {"examples": tables.content_digest(paths.examples)}
    readings = StoredByKey(StoredRows(paths.logprobs, "logprobs", of_examples, _readings))
    same = of_examples | {"model": tables.provenance(paths.logprobs).get("model", "")}
    benchmark = tables.provenance(paths.examples).get("benchmark", paths.examples.stem)
    return Evidence(
        scope=Scope(benchmark, items.kinds),
        items={part: items.of(part) for part in dict.fromkeys([*PARTS, *items.parts])},
        readings=readings,
        generations=StoredByKey(StoredRows(paths.generations, "generations", same, _texts)),
        spans=None if paths.spans is None else read_spans(paths.spans),
        first_n=settings.first_n,
        continuation_tokens=settings.verbmem_new_tokens,
        gradient_norms=_row_values(paths.gradient_norms, same, "gradient norms"),
        reference_losses=_losses(paths.reference, of_examples),
        fluencies=_row_values(paths.fluency, same, "classifier"),
        answer_losses=_row_values(
            paths.answers, same | {"generations": tables.content_digest(paths.generations)}, "original"
        ),
        gold=None if paths.gold is None else read_spans(paths.gold, of_examples),
    )


def _row_values(path: Path | None, expected: Mapping[str, str], what: str) -> RowValues:
    if path is None:
        return NOT_GIVEN[what]
    return StoredByKey(StoredRows(path, "scores", expected, _row_values_of))


def _losses(path: Path | None, expected: Mapping[str, str]) -> RowValues:
    if path is None:
        return NOT_GIVEN["reference model"]
    return StoredByKey(StoredRows(path, "logprobs", expected, _losses_of))


def _row_values_of(table: pa.Table) -> list[Value]:
    return [row_value(row) for row in table.to_pylist()]


def _losses_of(table: pa.Table) -> list[Value]:
    return [found.loss for found in _readings(table)]


def _texts(table: pa.Table) -> list[str]:
    return list(table["generation"].to_pylist())


def _readings(table: pa.Table) -> list[Reading]:
    # Views into one array per column: a Python list per token would cost more than all the metrics
    columns = {
        name: list(_pieces(table[name].combine_chunks()))
        for name in (
            "log_probs",
            "argmax_hits",
            "char_starts",
            "char_ends",
            "expected_log_probs",
            "log_prob_variances",
        )
    }
    return [
        Reading(
            log_probs=log_probs.astype(np.float64),
            hits=hits,
            char_starts=starts,
            char_ends=ends,
            end_count=end_count,
            expected=None if expected is None else expected.astype(np.float64),
            variance=None if variance is None else variance.astype(np.float64),
        )
        for log_probs, hits, starts, ends, expected, variance, end_count in zip(
            *columns.values(), table["end_count"].to_pylist(), strict=True
        )
    ]


def _pieces(column: pa.ListArray) -> Iterator[Any]:
    """The lists of a column as arrays, None where one is null."""
    values = column.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False))
    start = 0
    for end, valid in zip(ends, column.is_valid().to_pylist(), strict=True):
        yield values[start:end] if valid else None
        start = end
