"""What the model part found out, read back for arithmetic: no torch, no tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palu import tables
from palu.evaluation.base import ItemScores, Missing, Scope, Value
from palu.evaluation.items import PARTS, Example, Item, evaluated_items
from palu.spans import Span


@dataclass(frozen=True, eq=False)
class Reading:
    """One row under teacher forcing: P predicted tokens, the reply's and, where `has_end`, the end token last.

    log_probs: (P,) float64, natural. hits: (P,) bool, whether the token is the model's first choice.
    char_starts, char_ends: (P,), the token's characters in the reply; 0, 0 for the end token.
    """

    log_probs: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    char_starts: npt.NDArray[np.int32]
    char_ends: npt.NDArray[np.int32]
    has_end: bool

    @cached_property
    def fault(self) -> str | None:
        """What is wrong with the numbers of this row, if anything: a collapsed model yields NaN or infinity."""
        if not len(self.log_probs):
            return "no token of the reply was predicted"
        broken = np.flatnonzero(~np.isfinite(self.log_probs))
        if not len(broken):
            return None
        return f"the log-probability of predicted token {broken[0]} is {self.log_probs[broken[0]]}"

    @cached_property
    def loss(self) -> Value:
        """Mean negative log-likelihood over the reply and its end token, in nats."""
        return Missing(self.fault) if self.fault else float(-self.log_probs.mean())


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that the metrics of one model are computed from.

    items: part -> its evaluated items. readings, generations: by example_id.
    spans: sensitive characters of a reply, by example_id; None where no tagger's spans were given.
    """

    scope: Scope
    items: Mapping[str, Sequence[Item]]
    readings: Mapping[str, Reading]
    generations: Mapping[str, str]
    spans: Mapping[str, Sequence[Span]] | None
    first_n: int | None

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


def gather(
    examples_path: Path,
    generations_path: Path,
    logprobs_path: Path,
    spans_path: Path | None,
    first_n: int | None,
    retain: ItemScores | None,
) -> Evidence:
    """Read the tables and join them. Raises UserError where they are damaged, or of other examples or models."""
    examples = tables.rows(examples_path, "examples")
    same = {"examples": tables.content_digest(examples_path)}
    logprobs = tables.read(logprobs_path, "logprobs", same)
    same["model"] = tables.provenance(logprobs_path).get("model", "")
    generations = tables.read(generations_path, "generations", same)
    benchmark = tables.provenance(examples_path).get("benchmark", examples_path.stem)
    kinds = frozenset((row["part"], row["reply_kind"]) for row in examples)
    parts = list(dict.fromkeys([*PARTS, *(row["part"] for row in examples)]))
    return Evidence(
        scope=Scope(benchmark, kinds, retain),
        items={part: evaluated_items(examples, part) for part in parts},
        readings=dict(zip(logprobs["example_id"].to_pylist(), _readings(logprobs), strict=True)),
        generations=dict(
            zip(generations["example_id"].to_pylist(), generations["generation"].to_pylist(), strict=True)
        ),
        spans=None if spans_path is None else _spans(spans_path),
        first_n=first_n,
    )


def _spans(path: Path) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = {}
    for row in tables.rows(path, "spans"):
        spans.setdefault(row["example_id"], []).append((row["char_start"], row["char_end"]))
    return spans


def _readings(table: pa.Table) -> list[Reading]:
    # Views into one array per column: a Python list per token would cost more than all the metrics
    ends = np.cumsum(pc.list_value_length(table["log_probs"]).to_numpy())
    columns = {
        name: table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for name in ("log_probs", "argmax_hits", "char_starts", "char_ends")
    }
    readings = []
    start = 0
    for end, has_end in zip(ends, table["has_end"].to_pylist(), strict=True):
        readings.append(
            Reading(
                log_probs=columns["log_probs"][start:end].astype(np.float64),
                hits=columns["argmax_hits"][start:end],
                char_starts=columns["char_starts"][start:end],
                char_ends=columns["char_ends"][start:end],
                has_end=has_end,
            )
        )
        start = end
    return readings
