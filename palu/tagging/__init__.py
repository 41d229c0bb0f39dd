"""Taggers, one file each: name -> module. Each says which characters of a reply are sensitive.

Adding one costs its file, its test and a line here: a `Settings` class, and `spans(examples, settings, resources)`
which yields rows of the spans table without the tagger's name.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from palu.errors import UserError
from palu.files import canonical_json, text_digest
from palu.settings import Settings, unknown

TAGGERS = {
    "annotations": "palu.tagging.annotations",
    "spacy": "palu.tagging.spacy",
}


@dataclass(frozen=True)
class Resources:
    """What a tagger may use besides the examples.

    examples_digest: names the examples table, which a spans table states that it is of. gold_path: the benchmark's
    own spans table. processes: worker processes, which change nothing in the result.
    """

    examples_digest: str
    gold_path: Path | None = None
    processes: int = 1


class Tagger(Protocol):
    """The surface of a module in `palu.tagging`."""

    Settings: type[Settings]

    def spans(
        self, examples: Sequence[Mapping[str, Any]], settings: Any, resources: Resources
    ) -> Iterable[dict[str, Any]]:
        """Spans of `examples`: dicts of example_id, char_start, char_end, label and, optionally, score."""


@dataclass(frozen=True)
class Coverage:
    """How much of the examples a tagger marked; `str` of it is the line for a log."""

    rows: int
    rows_without_span: int
    spans: int
    marked_characters: int
    characters: int

    def __str__(self) -> str:
        share = self.marked_characters / self.characters
        return (
            f"{self.rows} rows, {self.rows_without_span} of them without any span; {self.spans} spans "
            f"over {share:.1%} of {self.characters} characters"
        )


def load(name: str, place: str = "tagger") -> Tagger:
    """The module of tagger `name`. Raises UserError naming the place and the known taggers."""
    if name not in TAGGERS:
        raise unknown("tagger", name, place, TAGGERS)
    return cast("Tagger", importlib.import_module(TAGGERS[name]))


def tag(
    name: str,
    settings: Settings,
    examples_path: Path,
    gold_path: Path | None,
    out: Path,
    parts: Sequence[str] | None = None,
    processes: int = 1,
) -> Coverage:
    """Tag the original replies of `parts` and write the spans table `out`; prints and returns the coverage.

    parts: default: those of `tables.FORGET_PARTS` that the examples hold.
    Raises UserError for parts without a row, for a span that is empty, outside its reply or of no example, and
    where no reply has any span.
    """
    from palu import tables  # Arrow takes half a second to load, and studies import this module for `load` alone

    tagger = load(name)
    examples = _original_rows(examples_path, parts)
    examples_digest = tables.content_digest(examples_path)
    found = tagger.spans(examples, settings, Resources(examples_digest, gold_path, processes))
    rows = [row | {"tagger": name} for row in merge(_checked(found, examples, name))]
    if not rows:
        raise UserError(f"tagger {name!r}: found nothing sensitive in the {len(examples)} replies of {examples_path}")
    provenance = {
        "tagger": name,
        "settings": text_digest(canonical_json(settings.model_dump(mode="json"))),
        "examples": examples_digest,
    }
    tables.write(out, "spans", rows, provenance)
    coverage = Coverage(
        rows=len(examples),
        rows_without_span=len(examples) - len({row["example_id"] for row in rows}),
        spans=len(rows),
        marked_characters=sum(row["char_end"] - row["char_start"] for row in rows),
        characters=sum(len(example["reply"]) for example in examples),
    )
    print(f"{name}: {coverage}")
    return coverage


def _original_rows(examples_path: Path, parts: Sequence[str] | None) -> list[dict[str, Any]]:
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
    return chosen


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
        yield {"score": None, **span}


def merge(spans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spans in order of example (as first met) and start, those that overlap joined: the longest names the whole.

    Spans that only touch stay two: they differ in label, and become one run of tokens all the same.
    """
    by_example: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        by_example.setdefault(span["example_id"], []).append(span)
    merged: list[dict[str, Any]] = []
    for own in by_example.values():
        groups: list[list[dict[str, Any]]] = []
        reach = -1
        for span in sorted(own, key=lambda span: (span["char_start"], span["char_end"])):
            if span["char_start"] < reach:
                groups[-1].append(span)
            else:
                groups.append([span])
            reach = max(reach, span["char_end"])
        for group in groups:
            longest = max(group, key=lambda span: span["char_end"] - span["char_start"])
            end = max(span["char_end"] for span in group)
            merged.append(longest | {"char_start": group[0]["char_start"], "char_end": end})
    return merged
