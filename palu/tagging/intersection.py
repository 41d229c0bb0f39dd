"""What all of several taggers mark: the characters that a span of each covers, with the first one's label."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
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
            pieces = [both for piece in pieces for both in _common(piece, table.get(name, []))]
        for piece in pieces:
            text = reply[piece["char_start"] : piece["char_end"]]
            if text.strip():
                start = piece["char_start"] + len(text) - len(text.lstrip())
                yield piece | {"char_start": start, "char_end": start + len(text.strip())}


def _common(piece: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the piece shares with spans in order and apart, as `palu tag` writes them."""
    first = bisect_right(others, piece["char_start"], key=itemgetter("char_end"))
    stop = bisect_left(others, piece["char_end"], key=itemgetter("char_start"))
    for other in others[first:stop]:
        start, end = max(piece["char_start"], other["char_start"]), min(piece["char_end"], other["char_end"])
        yield {**piece, "char_start": start, "char_end": end}
