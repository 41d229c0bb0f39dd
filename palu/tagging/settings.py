"""What a study says of the scorecard of its taggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from palu.errors import UserError
from palu.settings import Settings, unknown
from palu.tagging.parts import TaggerPart


class OtherRows(Settings):
    """Other rows on which the same taggers are scored: a benchmark, and taggers that take the place of those of the
    same name, such as the one with its annotations."""

    benchmark: dict[str, Any]
    taggers: dict[str, dict[str, Any]] = Field(default_factory=dict)


class TaggingSettings(Settings):
    """gold: the tagger, one of kind `annotations`, with which all others are compared; none = no scorecard.
    also: name -> other rows that the scorecard goes on with, left out where a file of their taggers is not there."""

    gold: str | None = None
    also: dict[str, OtherRows] = Field(default_factory=dict)

    def check(self, taggers: Mapping[str, TaggerPart], place: str) -> None:
        """Raise UserError unless `gold` names a tagger whose spans somebody annotated."""
        if self.gold is None:
            if self.also:
                raise UserError(f"{place}.also: is given without a gold; allowed: gold: a tagger to compare with")
            return
        if self.gold not in taggers:
            raise unknown("tagger", self.gold, f"{place}.gold", taggers)
        if taggers[self.gold].name != "annotations":
            kind = taggers[self.gold].name
            raise UserError(f"{place}.gold: {self.gold!r} is of kind {kind!r}; allowed: one of kind 'annotations'")

    def sections(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The plain values of a study of the rows `name`: those of this one with another benchmark and taggers."""
        other = self.also[name]
        changed = {"benchmark": other.benchmark, "taggers": {**values.get("taggers", {}), **other.taggers}}
        return {**values, **changed, "methods": {}, "trajectory_epochs": [], "tagging": {"gold": self.gold}}
