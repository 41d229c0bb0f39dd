"""Fit a tagger that learns from annotated replies, and save it where `tag` will look for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palu import tables, tagging
from palu.errors import UserError
from palu.spans import Span
from palu.tagging.annotations import annotated
from palu.tagging.base import Resources
from palu.tagging.merging import merge


def fit(
    name: str,
    values: Mapping[str, Any],
    examples_path: Path,
    gold_path: Path | None,
    out: Path,
    parts: Sequence[str] | None = None,
) -> None:
    """Train tagger `name` with settings `values` on the annotated original replies of `parts`; write folder `out`.

    parts: default: all. The annotations are the file that the settings name, or else `gold_path`; a reply that
    somebody annotated with nothing is an example too, one that nobody looked at is not.
    Raises UserError for a tagger that is not trained, and what reading the annotations and the training raise.
    """
    place = f"tagger {name}"
    module = tagging.load(name, "--tagger")
    settings = module.Settings.parse(values, place)
    if "trained" not in settings.needs or not hasattr(module, "train"):
        raise UserError(f"--tagger: {name!r} is not trained; allowed: one that is, such as 'trained'")
    if parts is None:
        parts = sorted({row["part"] for row in tables.rows(examples_path, "examples") if tables.is_training_row(row)})
    _, rows = tagging.original_rows(examples_path, parts)
    resources = Resources(tables.content_digest(examples_path), gold_path)
    marked = annotated(rows, next(iter(settings.files), None), resources)
    spans: dict[str, list[Span]] = {}
    for span in merge({"example_id": key, **span} for key, own in marked.items() for span in own):
        spans.setdefault(span["example_id"], []).append((span["char_start"], span["char_end"]))
    examples = [row for row in rows if row["example_id"] in marked]
    module.train(examples, {row["example_id"]: spans.get(row["example_id"], []) for row in examples}, settings, out)
