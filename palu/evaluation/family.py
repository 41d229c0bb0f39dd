"""What a module that computes a family of metrics must offer. Loads no torch."""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

from palu.evaluation.base import ItemScores, Scope, Value
from palu.evaluation.evidence import Evidence


class Family(Protocol):
    """The surface of a module that computes metrics.

    SOURCES: other families whose items `summary` reads.
    """

    SOURCES: tuple[ModuleType, ...]

    def items(self, evidence: Evidence) -> ItemScores:
        """The values of single items and rows."""

    def summary(self, items: ItemScores, scope: Scope) -> dict[str, Value]:
        """The aggregates that the given files allow: name -> number, or the reason why there is none."""
