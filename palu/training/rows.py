"""The rows of an unlearning as tokens: to forget, to retain, other replies, and those on which it is stopped.

A row is what the model reads at once: of a document that is longer than that, a piece. Batches, epochs and partners
count rows; what is looked up by example, such as other replies, serves each piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palu import tables
from palu.errors import UserError
from palu.models import ModelSettings
from palu.tokens import encode, read_spans
from palu.training.data import Examples, check_disjoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from palu.tokens import TokenRow


def forget_and_retain(
    tokenizer: PreTrainedTokenizerFast,
    settings: ModelSettings,
    examples: Examples,
    spans_path: Path | None,
    forget_parts: Sequence[str],
    retain_parts: Sequence[str],
) -> tuple[list[TokenRow], list[TokenRow]]:
    """The rows to forget, with their sensitive tokens, and those to retain, which may be none.

    Raises UserError where the first of `forget_parts` has no row, and for a text that is in both.
    """
    first, *others = forget_parts
    forget = examples.of([first, *(part for part in others if part in examples.by_part)])
    retain = [row for part in retain_parts for row in examples.by_part.get(part, [])]
    check_disjoint(forget, retain, examples.path)
    spans = read_spans(spans_path) if spans_path is not None else None
    encoded = encode(forget, tokenizer, settings, settings.max_length, spans)
    return encoded, encode(retain, tokenizer, settings, settings.max_length)


def watched(examples: Examples, forget: Sequence[TokenRow]) -> list[TokenRow]:
    """The rows to forget on which a run is stopped. Raises UserError where there are none."""
    names = {row["example_id"] for row in examples.by_part.get(tables.VALIDATION, [])}
    rows = [row for row in forget if row.example_id in names]
    if not rows:
        raise UserError(
            f"{examples.path}: training.stop watches rows of part {tables.VALIDATION!r}, but it holds only "
            f"{', '.join(sorted(examples.by_part))}; allowed: stop: null, or a benchmark with such rows"
        )
    return rows


def alternates_of(
    tokenizer: PreTrainedTokenizerFast, settings: ModelSettings, path: Path | None, forget: Sequence[TokenRow]
) -> list[list[TokenRow]]:
    """The other replies of each row to forget, as many for each.

    path: an examples table of `palu.benchmarks.alternates`. Raises UserError when a row has none, or fewer, and for
    a reply that does not fit into one row.
    """
    if path is None:
        raise UserError("the method reads other replies to the forget rows' prompts, but no file of them is given")
    rows = encode(tables.rows(path, "examples"), tokenizer, settings, settings.max_length)
    found: dict[str, list[TokenRow]] = {}
    for row in rows:
        if row.first_position:
            raise UserError(
                f"{path}: example {row.example_id!r} takes more than max_length {settings.max_length} tokens; "
                "allowed: a reply that fits into one row"
            )
        found.setdefault(tables.answered_id(row.example_id), []).append(row)
    counts = {row.example_id: len(found.get(row.example_id, [])) for row in forget}
    fewest = min(counts, key=lambda example_id: counts[example_id])
    if not counts[fewest] or counts[fewest] < max(counts.values()):
        raise UserError(
            f"{path}: {counts[fewest]} other replies for example {fewest!r}; allowed: as many for every forget row, "
            "at least 1: make it anew"
        )
    return [found[row.example_id] for row in forget]
