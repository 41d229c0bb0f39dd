"""What `union` and `intersection` share: the spans of other taggers, from their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from palu.errors import UserError
from palu.tagging.base import TaggerSettings

if TYPE_CHECKING:
    from palu.tagging.base import Resources

SpansOf = dict[str, list[dict[str, Any]]]


class CombinationSettings(TaggerSettings):
    """of: the study's names of the taggers to combine, two or more. A plain command names their tables instead, and
    leaves it empty. The spans count as the tables have them, those of a fallback too."""

    of: list[str] = Field(default_factory=list)


def input_spans(name: str, examples: Sequence[Mapping[str, Any]], resources: Resources) -> list[SpansOf]:
    """Each input's spans of `examples`: example_id -> rows without the tagger, each row a fresh dict.

    Raises UserError where there are fewer than two inputs, and for an input that is of another examples table.
    """
    from palu import tables

    if len(resources.inputs) < 2:
        raise UserError(f"{name}: {len(resources.inputs)} spans tables are given to combine; allowed: two or more")
    wanted = {example["example_id"] for example in examples}
    found: list[SpansOf] = []
    for path in resources.inputs:
        own: SpansOf = {}
        for row in tables.rows(path, "spans", {"examples": resources.examples_digest}):
            if row["example_id"] in wanted:
                own.setdefault(row["example_id"], []).append({k: v for k, v in row.items() if k != "tagger"})
        found.append(own)
    return found
