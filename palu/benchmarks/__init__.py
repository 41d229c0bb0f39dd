"""Benchmarks, one module each: name -> module. Adding one costs its file, its test and a line here."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

from palu.benchmarks.base import GOLD
from palu.settings import check_known
from palu.stretches import stretches, text_length

if TYPE_CHECKING:
    from palu.benchmarks.base import Benchmark, BenchmarkSettings, Example, Span

BENCHMARKS = {
    "custom": "palu.benchmarks.custom",
    "muse": "palu.benchmarks.muse",
    "tofu": "palu.benchmarks.tofu",
    "village": "palu.benchmarks.village",
}
# What is held in memory until it is written: rows, or fewer where their texts are long
BATCH_ROWS = 4096
BATCH_CHARACTERS = 2**20


def load(name: str, place: str = "benchmark") -> Benchmark:
    """The module of benchmark `name`. Raises UserError naming the place and the known benchmarks."""
    check_known("benchmark", name, place, BENCHMARKS)
    return cast("Benchmark", importlib.import_module(BENCHMARKS[name]))


def checked(name: str, settings: BenchmarkSettings) -> Iterator[tuple[Example, list[Span]]]:
    """A benchmark's rows with their gold spans, one after the other, as the tables `examples` and `spans` have them.

    Raises UserError, at the row where it shows or at the end, when the benchmark cannot be had, nothing is to be
    forgotten, a text is empty, two rows share an id, a span is outside its reply, or a row to forget is also a row of
    another part.
    """
    from palu.benchmarks.checks import RowChecks  # loads Arrow: half a second that reading a study does not pay

    checks = RowChecks(f"benchmark {name}")
    for row in load(name).examples(settings):
        example = {key: value for key, value in row.items() if key != GOLD}
        spans: list[Span] = [
            {**span, "example_id": row["example_id"], "score": None, "tagger": GOLD} for span in row.get(GOLD, ())
        ]
        checks.check(example, spans)
        yield example, spans
    checks.finish()


def prepare(name: str, settings: BenchmarkSettings, out: Path, gold_out: Path) -> None:
    """Write the `examples` table of a benchmark to `out` and its gold spans to `gold_out` (no rows where it has none).

    Rows are written as they come, so that memory does not grow with their texts. Both tables say how many rows the
    first has. Prints what the benchmark's settings have to say of the results.
    Raises UserError, with nothing written, where `checked` does.
    """
    import pyarrow as pa

    from palu import tables

    rows = checked(name, settings)
    first = next(rows)
    provenance = {
        "benchmark": name,
        "split": settings.split_name,
        "source_revision": str(first[0]["source_revision"]),
    }
    parts: Counter[str] = Counter()
    with tables.writer(gold_out, "spans", provenance) as gold:
        with tables.writer(out, "examples", provenance) as examples:
            every = chain([first], rows)
            for batch in stretches(every, BATCH_ROWS, BATCH_CHARACTERS, lambda row: text_length(row[0])):
                examples.write_table(pa.Table.from_pylist([row for row, _ in batch], schema=examples.schema))
                marked = [span for _, spans in batch for span in spans]
                gold.write_table(pa.Table.from_pylist(marked, schema=gold.schema))
                parts.update(row["part"] for row, _ in batch)
            counts = {"rows": str(parts.total())}
            examples.add_key_value_metadata(tables.metadata(counts))
        gold.add_key_value_metadata(tables.metadata(counts | {"examples": tables.content_digest(out)}))
    print(f"benchmark {name}: {parts.total()} rows: " + ", ".join(f"{part} {count}" for part, count in parts.items()))
    for note in settings.notes:
        print(f"benchmark {name}: {note}")
