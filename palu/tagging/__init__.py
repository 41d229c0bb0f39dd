"""Taggers, one file each: name -> module. Each says which characters of a reply are sensitive.

Adding one costs its file, its test and a line here: a `Settings` class, and `spans(examples, settings, resources)`
which yields rows of the spans table without the tagger's name.
"""

import importlib
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from palu.errors import UserError
from palu.files import canonical_json, text_digest, write_json
from palu.settings import check_known, unknown
from palu.tagging.base import FALLBACK, Resources, Tagger, TaggerSettings, fallback_span
from palu.tagging.merging import merge

__all__ = ["TAGGERS", "Coverage", "Resources", "Tagger", "TaggerSettings", "load", "merge", "original_rows", "tag"]

TAGGERS = {
    "annotations": "palu.tagging.annotations",
    "classifier": "palu.tagging.classifier",
    "entropy": "palu.tagging.entropy",
    "fill_mask": "palu.tagging.fill_mask",
    "intersection": "palu.tagging.intersection",
    "noisy": "palu.tagging.noisy",
    "novelty": "palu.tagging.novelty",
    "presidio": "palu.tagging.presidio",
    "spacy": "palu.tagging.spacy",
    "surprisal": "palu.tagging.surprisal",
    "trained": "palu.tagging.trained",
    "union": "palu.tagging.union",
}
# A tagger that takes longer than this, with the loading of its libraries, is not run a second time to be timed.
LONG_SECONDS = 60.0


@dataclass(frozen=True)
class Coverage:
    """How much of the examples a tagger marked; `str` of it is the line for a log.

    rows_without_span: those in which the tagger itself found nothing; fallback_rows: how many of these the fallback
    served, whose spans are counted in the other numbers.
    """

    rows: int
    rows_without_span: int
    fallback_rows: int
    spans: int
    marked_characters: int
    characters: int

    def __str__(self) -> str:
        share = self.marked_characters / self.characters
        served = f" ({self.fallback_rows} served by the fallback)" if self.fallback_rows else ""
        return (
            f"{self.rows} rows, {self.rows_without_span} of them without any span{served}; {self.spans} spans "
            f"over {share:.1%} of {self.characters} characters"
        )


def load(name: str, place: str = "tagger") -> Tagger:
    """The module of tagger `name`. Raises UserError naming the place and the known taggers."""
    check_known("tagger", name, place, TAGGERS)
    return cast("Tagger", importlib.import_module(TAGGERS[name]))


def tag(
    name: str,
    settings: TaggerSettings,
    examples_path: Path,
    resources: Resources | None,
    out: Path,
    parts: Sequence[str] | None = None,
) -> Coverage:
    """Tag the original replies of `parts` and write the spans table `out`; prints and returns the coverage.

    Beside `out` stands a JSON file of the same name with the coverage and the seconds that the tagging took.
    resources: without the digest of the examples, which is taken here. parts: default: those of
    `tables.FORGET_PARTS` that the examples hold.
    Raises UserError for parts without a row, for a span that is empty, outside its reply or of no example, and
    where no reply has any span.
    """
    # Arrow takes half a second to load, and studies import this module for `load` alone
    import pyarrow as pa

    from palu import tables

    tagger = load(name)
    parts, examples = original_rows(examples_path, parts)
    resources = replace(resources or Resources(), examples_digest=tables.content_digest(examples_path))

    def run() -> list[dict[str, Any]]:
        return merge(_checked(tagger.spans(examples, settings, resources), examples, name))

    own, seconds = _timed(run)
    served = list(_fallbacks(examples, own, settings.fallback, name))
    rows = [*own, *served]
    if not rows:
        raise UserError(f"tagger {name!r}: found nothing sensitive in the {len(examples)} replies of {examples_path}")
    provenance = {
        "tagger": name,
        "settings": text_digest(canonical_json(settings.model_dump(mode="json"))),
        "examples": resources.examples_digest,
        "parts": ",".join(parts),
    }
    coverage = Coverage(
        rows=len(examples),
        rows_without_span=len(examples) - len({row["example_id"] for row in own}),
        fallback_rows=len(served),
        spans=len(rows),
        marked_characters=sum(row["char_end"] - row["char_start"] for row in rows),
        characters=sum(len(example["reply"]) for example in examples),
    )
    tables.write(out, "spans", pa.Table.from_pylist(rows, schema=tables.SPANS), provenance)
    write_json(out.with_suffix(".json"), asdict(coverage) | {"tagger": name, "seconds": seconds})
    print(f"{name}: {coverage}")
    return coverage


def _timed(run: Callable[[], list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], float]:
    """What `run` gives, and its seconds: where it is short, of a second time, when all libraries are loaded."""
    found: list[dict[str, Any]] = []
    seconds = math.inf
    for is_second in (False, True):
        with redirect_stdout(io.StringIO()) if is_second else nullcontext():
            # the spans of long documents are not held twice
            found.clear()
            started = time.perf_counter()
            found = run()
            seconds = min(seconds, time.perf_counter() - started)
        if seconds > LONG_SECONDS:
            break
    return found, seconds


def original_rows(examples_path: Path, parts: Sequence[str] | None) -> tuple[list[str], list[dict[str, Any]]]:
    """The parts, and their rows that models are trained on; none = those of `tables.FORGET_PARTS` that are held.

    Raises UserError for a part without a row, and where no reply is left.
    """
    from palu import tables

    rows = tables.rows(examples_path, "examples")
    held = {row["part"] for row in rows}
    if parts is None:
        # the first of them is there in every benchmark, and named where it is not
        first, *others = tables.FORGET_PARTS
        parts = [first, *(part for part in others if part in held)]
    for part in parts:
        if part not in held:
            raise unknown("part", part, str(examples_path), held)
    chosen = [row for row in rows if row["part"] in parts and tables.is_training_row(row)]
    if not any(row["reply"] for row in chosen):
        raise UserError(f"{examples_path}: no original reply in the parts {', '.join(parts)}: nothing to tag")
    return list(parts), chosen


def _fallbacks(
    examples: Sequence[Mapping[str, Any]], spans: Iterable[Mapping[str, Any]], fallback: str, tagger: str
) -> Iterator[dict[str, Any]]:
    served = {span["example_id"] for span in spans}
    for example in examples:
        found = fallback_span(example["reply"], fallback) if example["example_id"] not in served else None
        if found is not None:
            start, end = found
            place = {"example_id": example["example_id"], "char_start": start, "char_end": end}
            yield place | {"label": FALLBACK, "score": None, "tagger": tagger}


def _checked(
    spans: Iterable[dict[str, Any]], examples: Sequence[Mapping[str, Any]], name: str
) -> Iterator[dict[str, Any]]:
    replies = {example["example_id"]: example["reply"] for example in examples}
    for number, span in enumerate(spans, start=1):
        place = f"tagger {name!r}: span {number} of example {span['example_id']!r}"
        if span["example_id"] not in replies:
            raise UserError(f"{place}: there is no such example among the {len(replies)} that are tagged")
        start, end, length = span["char_start"], span["char_end"], len(replies[span["example_id"]])
        if not 0 <= start < end <= length:
            raise UserError(f"{place}: {start}..{end} lies outside its reply; allowed: 0 <= start < end <= {length}")
        yield {"score": None, **span, "tagger": name}
