"""What any of several taggers marks: their spans together, overlapping ones joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palu.tagging.combining import CombinationSettings, input_spans

if TYPE_CHECKING:
    from palu.tagging.base import Resources


class Settings(CombinationSettings):
    """As `CombinationSettings`."""


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """All spans of the inputs that are of `examples`. Raises UserError without inputs, and for inputs of others."""
    for table in input_spans("union", examples, resources):
        for own in table.values():
            yield from own
