"""What all of several taggers mark: the characters that a span of each covers, with the first one's label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palu.tagging.combining import CombinationSettings, input_spans

if TYPE_CHECKING:
    from palu.tagging.base import Resources


class Settings(CombinationSettings):
    """As `CombinationSettings`."""


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """The common pieces of the inputs' spans, without white space at their ends.

    Raises UserError without inputs, and for inputs of other examples.
    """
    first, *others = input_spans("intersection", examples, resources)
    for example in examples:
        name, reply = example["example_id"], example["reply"]
        pieces = first.get(name, [])
        for table in others:
            pieces = [both for piece in pieces for other in table.get(name, ()) if (both := _common(piece, other))]
        for piece in pieces:
            text = reply[piece["char_start"] : piece["char_end"]]
            if text.strip():
                start = piece["char_start"] + len(text) - len(text.lstrip())
                yield piece | {"char_start": start, "char_end": start + len(text.strip())}


def _common(piece: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any] | None:
    start = max(piece["char_start"], other["char_start"])
    end = min(piece["char_end"], other["char_end"])
    return {**piece, "char_start": start, "char_end": end} if start < end else None
