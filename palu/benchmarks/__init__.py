"""Benchmarks, one module each: name -> module. Adding one costs its file, its test and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from palu.errors import UserError
from palu.settings import unknown

if TYPE_CHECKING:
    from palu.benchmarks.base import Benchmark, BenchmarkSettings, Example, Span

BENCHMARKS = {
    "demo": "palu.benchmarks.demo",
    "muse": "palu.benchmarks.muse",
    "tofu": "palu.benchmarks.tofu",
}


def load(name: str, place: str = "benchmark") -> Benchmark:
    """The module of benchmark `name`. Raises UserError naming the place and the known benchmarks."""
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, place, BENCHMARKS)
    return cast("Benchmark", importlib.import_module(BENCHMARKS[name]))


def prepare(name: str, settings: BenchmarkSettings, out: Path, gold_out: Path) -> None:
    """Write the `examples` table of a benchmark to `out` and its gold spans to `gold_out` (no rows where it has none).

    Raises UserError, with nothing written, when the benchmark cannot be had, nothing is to be forgotten, a text is
    empty, two rows share an id, or a row to forget is also a row of another part.
    """
    from palu import tables  # Arrow takes half a second to load, and studies import this module for `load` alone

    examples, spans = load(name).examples(settings)
    place = f"benchmark {name}"
    _check(examples, place)
    _check_spans(spans, examples, place)
    provenance = {
        "benchmark": name,
        "split": settings.split_name,
        "source_revision": str(examples[0]["source_revision"]),
    }
    trained = {(row["prompt"], row["reply"]) for row in _originals(examples) if row["part"] != "holdout"}
    held_out = [row for row in _originals(examples) if row["part"] == "holdout"]
    seen = sum((row["prompt"], row["reply"]) in trained for row in held_out)
    if seen:
        print(f"benchmark {name}: {seen} of {len(held_out)} held-out rows are also trained on: attacks tell nothing")
    tables.write(out, "examples", examples, provenance)
    tables.write(gold_out, "spans", spans, provenance | {"examples": tables.content_digest(out)})


def _check(examples: Sequence[Example], place: str) -> None:
    seen: set[str] = set()
    for row in examples:
        key = row["example_id"]
        if key in seen:
            raise UserError(f"{place}: example_id {key!r} names two rows; every row needs its own")
        seen.add(key)
        for column in ("prompt", "reply"):
            if not row[column].strip() and not (column == "prompt" and _is_document(row)):
                raise UserError(f"{place}: the {column} of row {key!r} is empty")
    originals = list(_originals(examples))
    if not any(row["part"] == "forget" for row in originals):
        raise UserError(f"{place}: the forget set is empty: no row has part 'forget'")
    forget = {(row["prompt"], row["reply"]): row["example_id"] for row in originals if _is_forget(row)}
    for row in originals:
        twin = forget.get((row["prompt"], row["reply"]))
        if twin is not None and not _is_forget(row):
            raise UserError(
                f"{place}: row {twin!r} is to be forgotten and row {row['example_id']!r} has the same prompt and "
                f"reply: no row may stand in both parts"
            )


def _check_spans(spans: Iterable[Span], examples: Iterable[Example], place: str) -> None:
    replies = {row["example_id"]: row["reply"] for row in examples}
    for span in spans:
        key, start, end = span["example_id"], span["char_start"], span["char_end"]
        if key not in replies:
            raise UserError(f"{place}: a gold span refers to row {key!r}, which is not in the examples")
        length = len(replies[key])
        if not 0 <= start < end <= length:
            raise UserError(f"{place}: gold span {start}..{end} of row {key!r} is outside its {length} characters")


def _originals(examples: Iterable[Example]) -> Iterable[Example]:
    from palu.tables import is_training_row

    return filter(is_training_row, examples)


def _is_document(row: Example) -> bool:
    """Whether a row is a text without a prompt, of a part whose rows may be."""
    from palu.tables import PROMPTED_PARTS

    return row["prompt"] == "" and row["part"] not in PROMPTED_PARTS


def _is_forget(row: Example) -> bool:
    from palu.tables import FORGET_PARTS

    return row["part"] in FORGET_PARTS
