"""Gold spans degraded to a stated precision and recall: what does a method lose by a tagger that errs so much?

With G gold characters (white space left out), gold spans are kept in a random order until they have recall x G of
them, K; false spans are then added until these have K (1 - precision) / precision, so that K / (K + false) is the
precision. What is reached differs from what is asked by half a span at most, and is printed.
A false span is a stretch of whole words as long as some gold span, at random, that touches neither a gold span, a
dropped one neither, nor another false span. Random order: by a hash of the seed and the place, so that neither the
order of the rows nor the machine matters.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from palu.errors import UserError
from palu.settings import Count, PositiveNumber
from palu.tagging.annotations import annotated
from palu.tagging.base import TaggerSettings
from palu.tagging.merging import merge
from palu.tagging.words import words

if TYPE_CHECKING:
    from palu.spans import Span
    from palu.tagging.base import Resources

GOLD, FALSE = "gold", "false"

Share = Annotated[PositiveNumber, Field(le=1)]


class Settings(TaggerSettings):
    """source: `gold`, the benchmark's own spans, or a file as the tagger `annotations` reads it. precision, recall:
    of characters, against the source. seed: another one makes other mistakes of the same extent."""

    needs: ClassVar[frozenset[str]] = frozenset({"gold"})

    source: str = Field(default=GOLD, min_length=1)
    precision: Share
    recall: Share
    seed: Count = 0

    @property
    def files(self) -> tuple[str, ...]:
        return () if self.source == GOLD else (self.source,)


@dataclass(frozen=True)
class _Stretch:
    """A piece of a reply. size: its characters without white space."""

    example_id: str
    start: int
    end: int
    label: str
    size: int

    @property
    def row(self) -> dict[str, Any]:
        place = {"example_id": self.example_id, "char_start": self.start, "char_end": self.end}
        return place | {"label": self.label}


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:
    """The kept and the false spans; prints what precision and recall they have.

    Raises UserError where the replies have too little text outside gold spans for so low a precision, and what
    reading the source raises.
    """
    source = None if settings.source == GOLD else settings.source
    replies = {example["example_id"]: example["reply"] for example in examples}
    marked = annotated(examples, source, resources)
    rows = merge({"example_id": name, **span} for name, own in marked.items() for span in own)
    gold = [
        _stretch(row["example_id"], replies[row["example_id"]], row["char_start"], row["char_end"], row["label"])
        for row in rows
    ]
    total = sum(span.size for span in gold)
    if not total:
        raise UserError(f"noisy: {settings.source}: none of the {len(replies)} replies has a span to degrade")
    kept = _until(settings.recall * total, _shuffled(gold, settings.seed, "keep"))
    held = sum(span.size for span in kept)
    wanted = held * (1 - settings.precision) / settings.precision
    false = _false_spans({name: replies[name] for name in marked}, gold, wanted, settings.seed)
    added = sum(span.size for span in false)
    if wanted - added > max(span.size for span in gold):
        raise UserError(
            f"noisy: precision {settings.precision} at recall {settings.recall} needs {round(wanted)} false "
            f"characters, and the replies have room for {added} apart from gold spans; allowed: a precision of at "
            f"least {held / (held + added):.2f}, or a lower recall"
        )
    print(
        f"noisy: {len(kept)} of {len(gold)} gold spans kept, {len(false)} false ones added: of characters, "
        f"recall {held / total:.3f} and precision {held / max(held + added, 1):.3f}"
    )
    yield from (span.row for span in (*kept, *false))


def _stretch(example_id: str, reply: str, start: int, end: int, label: str) -> _Stretch:
    return _Stretch(example_id, start, end, label, sum(not character.isspace() for character in reply[start:end]))


def _drawn(seed: int, *what: object) -> int:
    """A number from 0 to 2^64 that looks random and follows from its arguments."""
    text = "\0".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _shuffled(stretches: Sequence[_Stretch], seed: int, purpose: str) -> list[_Stretch]:
    return sorted(stretches, key=lambda each: (_drawn(seed, purpose, each.example_id, each.start), each.example_id))


def _until(size: float, stretches: Sequence[_Stretch]) -> list[_Stretch]:
    """Stretches taken in order, those left out that would lead farther from `size` than to leave them."""
    taken, left = [], size
    for each in stretches:
        if each.size <= 2 * left:
            taken.append(each)
            left -= each.size
    return taken


def _false_spans(replies: Mapping[str, str], gold: Sequence[_Stretch], size: float, seed: int) -> list[_Stretch]:
    """False spans of `size` characters in all, or as many as there is room for."""
    lengths = sorted(span.end - span.start for span in gold)
    # in order and apart, as gold spans are merged and false ones touch nothing
    blocked: dict[str, list[Span]] = {name: [] for name in replies}
    for span in gold:
        insort(blocked[span.example_id], (span.start, span.end))
    pieces = {
        name: [(word.start, word.end) for word in words(reply) if not word.is_mark] for name, reply in replies.items()
    }
    sites = [(name, place) for name, own in pieces.items() for place in range(len(own))]
    sites.sort(key=lambda site: (_drawn(seed, "site", *site), site))
    found: list[_Stretch] = []
    left = size
    # First where there is room for the drawn length, then anywhere
    for least in (0.5, 0.0):
        for name, place in sites:
            length = lengths[_drawn(seed, "length", name, place) % len(lengths)]
            start = pieces[name][place][0]
            end = _end_near(pieces[name], place, length, blocked[name])
            if end is None or end - start < least * length:
                continue
            span = _stretch(name, replies[name], start, end, FALSE)
            if span.size <= 2 * left:
                found.append(span)
                insort(blocked[name], (start, end))
                left -= span.size
    return found


def _end_near(pieces: Sequence[Span], place: int, length: int, blocked: Sequence[Span]) -> int | None:
    """Where a free stretch from the start of piece `place`, most nearly `length` long, ends with one; None: no such.

    blocked: stretches that it may not touch, in order and apart.
    """
    start = pieces[place][0]
    nearest = bisect_left(blocked, start, key=itemgetter(1))
    limit = blocked[nearest][0] if nearest < len(blocked) else math.inf
    stop = bisect_left(pieces, limit, lo=place, key=itemgetter(1))
    # the ends on either side of the wished one; of two as near the first
    over = bisect_left(pieces, start + length, lo=place, hi=stop, key=itemgetter(1))
    ends = [end for _, end in pieces[max(over - 1, place) : min(over + 1, stop)]]
    return min(ends, key=lambda end: abs(end - start - length), default=None)
