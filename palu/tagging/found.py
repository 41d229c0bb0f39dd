"""What a tagger found, in a few numbers a span, until it is written: a large forget set has a million spans."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from palu.errors import UserError
from palu.stored import KeyIndex
from palu.tagging.base import FALLBACK, fallback_span
from palu.tagging.merging import merge_one


class Replies:
    """The examples that are tagged, and of each one beside its digest the length of its reply."""

    def __init__(self, examples: Sequence[Mapping[str, Any]]) -> None:
        self.examples = examples
        self.lengths = array("i", (len(example["reply"]) for example in examples))
        self.index = KeyIndex(example["example_id"] for example in examples)


class FoundSpans:
    """The spans of a tagger, checked; those of an example that overlap are joined when they are read.

    name: the tagger's, for errors. Raises UserError for a span of no example, one that is empty and one outside its
    reply.
    """

    def __init__(self, spans: Iterable[Mapping[str, Any]], replies: Replies, name: str) -> None:
        self._replies, self._name = replies, name
        self._rows, self._starts, self._ends, self._labels = array("i"), array("i"), array("i"), array("i")
        self._scores: array[float] = array("d")
        self._has_score = array("b")
        self._known: dict[str, int] = {}
        for span in spans:
            self._take(span)
        rows = np.array(self._rows, np.int32)
        # examples in the order in which they were first met
        first = np.full(len(replies.examples), len(rows), np.int64)
        np.minimum.at(first, rows, np.arange(len(rows)))
        self._order = np.argsort(first[rows], kind="stable").astype(np.int32)
        self._tagged = np.bincount(rows, minlength=len(replies.examples)) > 0

    def _take(self, span: Mapping[str, Any]) -> None:
        number = len(self._rows) + 1
        place = f"tagger {self._name!r}: span {number} of example {span['example_id']!r}"
        row = self._replies.index.find(span["example_id"])
        if row is None:
            count = len(self._replies.examples)
            raise UserError(f"{place}: there is no such example among the {count} that are tagged")
        start, end, length = span["char_start"], span["char_end"], self._replies.lengths[row]
        if not 0 <= start < end <= length:
            raise UserError(f"{place}: {start}..{end} lies outside its reply; allowed: 0 <= start < end <= {length}")
        score = span.get("score")
        self._rows.append(row)
        self._starts.append(start)
        self._ends.append(end)
        self._labels.append(self._known.setdefault(span["label"], len(self._known)))
        self._scores.append(0.0 if score is None else score)
        self._has_score.append(score is not None)

    @property
    def tagged_rows(self) -> int:
        """How many examples have a span."""
        return int(self._tagged.sum())

    def merged(self) -> Iterator[dict[str, Any]]:
        """Rows of the spans table: what `palu.tagging.merging.merge` makes of them."""
        labels = list(self._known)
        start = 0
        while start < len(self._order):
            row = self._rows[self._order[start]]
            stop = start
            while stop < len(self._order) and self._rows[self._order[stop]] == row:
                stop += 1
            example_id = self._replies.examples[row]["example_id"]
            own = [
                {
                    "example_id": example_id,
                    "char_start": self._starts[i],
                    "char_end": self._ends[i],
                    "label": labels[self._labels[i]],
                    "score": self._scores[i] if self._has_score[i] else None,
                    "tagger": self._name,
                }
                for i in self._order[start:stop].tolist()
            ]
            yield from merge_one(own)
            start = stop

    def fallbacks(self, fallback: str) -> Iterator[dict[str, Any]]:
        """The rows that stand in where the tagger found nothing."""
        for row, is_tagged in enumerate(self._tagged.tolist()):
            example = None if is_tagged else self._replies.examples[row]
            found = fallback_span(example["reply"], fallback) if example else None
            if example and found is not None:
                start, end = found
                place = {"example_id": example["example_id"], "char_start": start, "char_end": end}
                yield place | {"label": FALLBACK, "score": None, "tagger": self._name}
