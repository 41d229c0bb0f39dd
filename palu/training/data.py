"""The rows that a model is trained on, read from the examples table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from palu import tables
from palu.errors import UserError

Example = Mapping[str, Any]

# Role of a model -> the parts that it is never trained on.
NEVER_SEEN = {"original": {"holdout"}, "retain": {"holdout", *tables.FORGET_PARTS}}


class Examples:
    """The training rows of one examples table: original prompts with their original replies, by part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_part: dict[str, list[Example]] = {}
        for row in tables.rows(path, "examples"):
            if tables.is_training_row(row):
                self.by_part.setdefault(row["part"], []).append(row)

    def parts_of(self, role: str) -> list[str]:
        """The parts that the model of `role` (original | retain) is trained on, in alphabetical order."""
        return sorted(set(self.by_part) - NEVER_SEEN[role])

    def of(self, parts: Iterable[str]) -> list[Example]:
        """The rows of `parts`, part after part. Raises UserError for a part without rows."""
        rows: list[Example] = []
        for part in parts:
            if part not in self.by_part:
                held = ", ".join(sorted(self.by_part)) or "none"
                raise UserError(f"{self.path}: no training row of part {part!r}; allowed, as it holds: {held}")
            rows += self.by_part[part]
        if not rows:
            raise UserError(f"{self.path}: no part was named to train on; it holds: {', '.join(sorted(self.by_part))}")
        return rows


def check_disjoint(forget: Sequence[Example], retain: Sequence[Example], path: Path) -> None:
    """Raise UserError for a text that is both to be forgotten and to be retained."""
    forgotten = {(row["prompt"], row["reply"]): row["example_id"] for row in forget}
    for row in retain:
        other = forgotten.get((row["prompt"], row["reply"]))
        if other is not None:
            raise UserError(
                f"{path}: {other!r}, to forget, and {row['example_id']!r}, to retain, are the same text; "
                "allowed: rows that differ in prompt or reply"
            )
