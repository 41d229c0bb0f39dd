"""Taggers, one file each: name -> module. Each says which characters of a reply are sensitive.

Adding one costs its file, its test and a line here: a `Settings` class, and `spans(examples, settings, resources)`
which yields rows of the spans table without the tagger's name.
"""

import importlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palu.errors import UserError
from palu.files import canonical_json, text_digest, write_json
from palu.settings import check_known, unknown
from palu.tagging.base import Resources, Tagger, TaggerSettings
from palu.tagging.merging import merge
from palu.tagging.words import words

if TYPE_CHECKING:
    from palu.tagging.found import Replies

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
# Of a document's words; above it little is left to hold the model by.
MOST_OF_A_DOCUMENT = 0.35


@dataclass(frozen=True)
class Coverage:
    """How much of the examples a tagger marked; `str` of it is the line for a log.

    rows_without_span: those in which the tagger itself found nothing; fallback_rows: how many of these the fallback
    served, whose spans are counted in the other numbers. document_words: in the replies without a prompt.
    """

    rows: int
    rows_without_span: int
    fallback_rows: int
    spans: int
    marked_characters: int
    characters: int
    marked_document_words: int
    document_words: int

    @property
    def warning(self) -> str | None:
        """What is said of a tagger that marks too many of the words of documents; None for one that does not."""
        if self.marked_document_words <= MOST_OF_A_DOCUMENT * self.document_words:
            return None
        share = self.marked_document_words / self.document_words
        return (
            f"marks {share:.0%} of the words of documents, more than {MOST_OF_A_DOCUMENT:.0%}: little is left to hold "
            "the model by; allowed: to mark names, dates and numbers alone (docs/taggers.md)"
        )

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

    A JSON file of the same name next to `out` has the coverage and the seconds that the tagging took, the
    loading of its libraries and models among them.
    resources: without the digest of the examples, which is taken here. parts: default: those of
    `tables.FORGET_PARTS` that the examples hold.
    Raises UserError for parts without a row, for a span that is empty, outside its reply or of no example, and
    where no reply has any span.
    """
    # Arrow takes half a second to load, and studies import this module for `load` alone
    from palu import stored, tables
    from palu.tagging.found import FoundSpans, Replies

    tagger = load(name)
    parts, examples = original_rows(examples_path, parts)
    resources = replace(resources or Resources(), examples_digest=tables.content_digest(examples_path))
    replies = Replies(examples)
    started = time.perf_counter()
    found = FoundSpans(tagger.spans(examples, settings, resources), replies, name)
    seconds = time.perf_counter() - started
    counted = _Counted(replies)
    rows = chain(counted.own(found.merged()), counted.served(found.fallbacks(settings.fallback)))
    first = next(rows, None)
    if first is None:
        raise UserError(f"tagger {name!r}: found nothing sensitive in the {len(examples)} replies of {examples_path}")
    provenance = {
        "tagger": name,
        "settings": text_digest(canonical_json(settings.model_dump(mode="json"))),
        "examples": resources.examples_digest,
        "parts": ",".join(parts),
    }
    stored.write_stream(out, "spans", stored.rows_tables(chain([first], rows), "spans"), provenance)
    coverage = Coverage(
        rows=len(examples),
        rows_without_span=len(examples) - found.tagged_rows,
        fallback_rows=counted.fallbacks,
        spans=counted.spans,
        marked_characters=counted.characters,
        characters=sum(replies.lengths),
        marked_document_words=counted.document_words,
        document_words=sum(_word_count(row["reply"]) for row in examples if not row["prompt"].strip()),
    )
    facts = {"tagger": name, "seconds": seconds, "warning": coverage.warning}
    write_json(out.with_suffix(".json"), asdict(coverage) | facts)
    print(f"{name}: {coverage}")
    if coverage.warning:
        print(f"warning: tagger {name!r} {coverage.warning}")
    return coverage


class _Counted:
    """Counts the rows of a spans table as they go by."""

    def __init__(self, replies: "Replies") -> None:
        self._replies = replies
        self.spans = self.fallbacks = self.characters = self.document_words = 0

    def own(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for example_id, own in groupby(rows, itemgetter("example_id")):
            example = self._replies.examples[self._replies.index.find(example_id) or 0]
            is_document = not example["prompt"].strip()
            for row in own:
                self.spans += 1
                self.characters += row["char_end"] - row["char_start"]
                if is_document:
                    self.document_words += _word_count(example["reply"][row["char_start"] : row["char_end"]])
                yield row

    def served(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in self.own(rows):
            self.fallbacks += 1
            yield row


def _word_count(text: str) -> int:
    return sum(not word.is_mark for word in words(text))


def original_rows(examples_path: Path, parts: Sequence[str] | None) -> tuple[list[str], Sequence[dict[str, Any]]]:
    """The parts, and their rows that models are trained on; none = those of `tables.FORGET_PARTS` that are held.

    Rows are read as they are asked for. Raises UserError for a part without a row, and where no reply is left.
    """
    from palu import stored, tables

    held = {row["part"] for row in stored.StoredRows(examples_path, "examples").columns("part")}
    if parts is None:
        # the first of them is there in every benchmark, and named where it is not
        first, *others = tables.FORGET_PARTS
        parts = [first, *(part for part in others if part in held)]
    for part in parts:
        if part not in held:
            raise unknown("part", part, str(examples_path), held)
    chosen = stored.training_rows(examples_path, parts)
    if not any(row["reply"] for row in chosen):
        raise UserError(f"{examples_path}: no original reply in the parts {', '.join(parts)}: nothing to tag")
    return list(parts), chosen
