"""How well predicted spans agree with gold ones: precision, recall and F1 in four units, summed over all rows.

character: that is no white space, marked or not. word: as `palu.tagging.words` cuts them, punctuation left out;
token: of a given tokenizer; both are marked iff a span meets one of their characters, trimmed of white space, as in
training. span: predicted and gold one are the same characters; labels do not count.
Ties and overlaps: spans of one row that overlap are joined first, on both sides, and a character that several cover
counts once; spans that only touch stay two. So one predicted span over two gold ones that touch agrees with them in
every character and in no span.
The rows that count are those that somebody annotated, among the parts that were tagged; a row without any gold span
counts, with whatever is predicted in it as false.
precision = hits / predicted, recall = hits / gold, F1 = 2 hits / (predicted + gold), null where the divisor is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palu import tables
from palu.errors import UserError
from palu.span_tables import read_spans
from palu.spans import Mask, Span, sensitive_tokens
from palu.tagging.annotations import annotated
from palu.tagging.base import Resources
from palu.tagging.merging import merge
from palu.tagging.words import words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHOWN_MISTAKES = 12
# Characters of the reply on either side of a mistake
CONTEXT = 40

Spans = Mapping[str, Sequence[Span]]


@dataclass(frozen=True)
class Counts:
    """Units that are marked in both, by the prediction, and by the gold spans; total: all there are, where known."""

    hits: int = 0
    predicted: int = 0
    gold: int = 0
    total: int = 0

    def __add__(self, other: Counts) -> Counts:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Counts(*(own + more for own, more in pairs))

    def facts(self) -> dict[str, float | None]:
        """precision, recall and f1 beside the counts."""
        return {
            "precision": self.hits / self.predicted if self.predicted else None,
            "recall": self.hits / self.gold if self.gold else None,
            "f1": 2 * self.hits / (self.predicted + self.gold) if self.predicted + self.gold else None,
            "hits": self.hits,
            "predicted": self.predicted,
            "gold": self.gold,
            "total": self.total or None,
        }


def score_tags(
    predicted_path: Path,
    gold_path: Path,
    examples_path: Path | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> dict[str, Any]:
    """The scores of a spans table as plain values, for JSON.

    gold_path: a spans table, or a file of annotations as the tagger `annotations` reads it. examples_path: without it
    no text is known: characters are counted with the white space inside spans, words are not, no mistake is shown.
    Raises UserError for files that are of other examples, a gold file that needs the examples, and no common row.
    """
    facts = tables.provenance(predicted_path)
    if examples_path is None:
        return _without_text(predicted_path, gold_path, facts, tokenizer)
    digest = tables.content_digest(examples_path)
    predicted = _spans_of(predicted_path, digest)
    parts = set(facts.get("parts", "").split(",")) - {""}
    examples = {
        row["example_id"]: row
        for row in tables.rows(examples_path, "examples")
        if tables.is_training_row(row) and (not parts or row["part"] in parts)
    }
    marked = annotated(list(examples.values()), str(gold_path), Resources(digest))
    gold = _merged((name, span["char_start"], span["char_end"]) for name, own in marked.items() for span in own)
    rows = [examples[name] for name in marked]
    for path, spans in ((predicted_path, predicted), (gold_path, gold)):
        _check_inside(rows, spans, path)
    tokens = _token_offsets(rows, tokenizer) if tokenizer is not None else None
    return score(predicted, {name: gold.get(name, []) for name in marked}, rows, tokens)


def score(
    predicted: Spans, gold: Spans, rows: Sequence[Mapping[str, Any]], tokens: Spans | None = None
) -> dict[str, Any]:
    """Compare merged spans of `rows` (of the examples table): all that `gold` has a list for, be it empty.

    tokens: example_id -> the characters of each token of its reply.
    """
    units = {"character": Counts(), "word": Counts(), "span": Counts()} | ({"token": Counts()} if tokens else {})
    misses, alarms = _Mistakes(), _Mistakes()
    for row in rows:
        name, reply = row["example_id"], row["reply"]
        own, true = predicted.get(name, ()), gold[name]
        solid = np.array([not character.isspace() for character in reply], dtype=bool)
        marks = [_mask(len(reply), spans) for spans in (own, true)]
        units["character"] += _agreement(marks[0][solid], marks[1][solid])
        units["span"] += Counts(len(set(own) & set(true)), len(own), len(true))
        offsets = {"word": [(word.start, word.end) for word in words(reply) if not word.is_mark]}
        if tokens is not None:
            offsets["token"] = list(tokens[name])
        for unit, pieces in offsets.items():
            starts, ends = [start for start, _ in pieces], [end for _, end in pieces]
            if pieces:
                hit, wanted = (sensitive_tokens(reply, starts, ends, spans)[0] for spans in (own, true))
                units[unit] += _agreement(hit, wanted)
        misses.add(name, reply, marks[1] & ~marks[0])
        alarms.add(name, reply, marks[0] & ~marks[1])
    return _summary(predicted, gold, [row["example_id"] for row in rows], units) | {
        "misses": misses.most_frequent(),
        "false_alarms": alarms.most_frequent(),
    }


def _without_text(
    predicted_path: Path, gold_path: Path, facts: Mapping[str, str], tokenizer: object
) -> dict[str, Any]:
    if tokenizer is not None or gold_path.suffix != ".parquet" or tables.provenance(gold_path).get("table") != "spans":
        what = "--tokenizer cuts the replies" if tokenizer is not None else f"{gold_path} names replies by their text"
        raise UserError(f"score-tags: {what}, which only the examples have; allowed: --examples FILE")
    predicted = _spans_of(predicted_path, facts.get("examples", ""))
    gold = _spans_of(gold_path, facts.get("examples", ""))
    names = sorted({*predicted, *gold})
    units = {"character": Counts(), "span": Counts()}
    for name in names:
        own, true = predicted.get(name, []), gold.get(name, [])
        marked = (sum(end - start for start, end in spans) for spans in (own, true))
        units["character"] += Counts(_overlap(own, true), *marked)
        units["span"] += Counts(len(set(own) & set(true)), len(own), len(true))
    return _summary(predicted, gold, names, units)


def _summary(predicted: Spans, gold: Spans, names: Sequence[str], units: Mapping[str, Counts]) -> dict[str, Any]:
    if not names:
        raise UserError("score-tags: no row is both annotated and of a part that was tagged")
    without = [name for name in names if not gold.get(name)]
    return {
        "rows": len(names),
        "rows_without_gold": len(without),
        "rows_without_gold_marked": sum(bool(predicted.get(name)) for name in without),
        "rows_without_prediction": sum(not predicted.get(name) for name in names),
        "units": {unit: counts.facts() for unit, counts in units.items()},
    }


def _spans_of(path: Path, examples_digest: str) -> dict[str, list[Span]]:
    found = read_spans(path, {"examples": examples_digest})
    return _merged((name, start, end) for name, own in found.items() for start, end in own)


def _check_inside(rows: Sequence[Mapping[str, Any]], spans: Spans, path: Path) -> None:
    """Raise UserError for a span that goes on behind the end of its reply."""
    for row in rows:
        length = len(row["reply"])
        for start, end in spans.get(row["example_id"], ()):
            if end > length:
                raise UserError(
                    f"{path}: example {row['example_id']!r}: span {start}..{end} lies outside its reply; "
                    f"allowed: up to {length}"
                )


def _overlap(one: Sequence[Span], other: Sequence[Span]) -> int:
    """How many characters two lists of merged spans have in common: in steps of spans, since without their replies
    nothing bounds where they end."""
    shared = i = j = 0
    while i < len(one) and j < len(other):
        shared += max(0, min(one[i][1], other[j][1]) - max(one[i][0], other[j][0]))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return shared


def _merged(spans: Iterator[tuple[str, int, int]]) -> dict[str, list[Span]]:
    rows = merge({"example_id": name, "char_start": start, "char_end": end} for name, start, end in spans)
    by_name: dict[str, list[Span]] = {}
    for row in rows:
        by_name.setdefault(row["example_id"], []).append((row["char_start"], row["char_end"]))
    return by_name


def _token_offsets(rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[Span]]:
    """The reply's tokens behind its prompt, in the plain template: those that training would see."""
    from palu import tokens
    from palu.models import TemplateSettings

    unlimited = 1 << 30
    encoded = tokens.encode(rows, tokenizer, TemplateSettings(), unlimited)
    return {
        row.example_id: list(zip(row.char_start.tolist(), row.char_end.tolist(), strict=True))[row.reply_start :]
        for row in encoded
    }


def _mask(length: int, spans: Sequence[Span]) -> Mask:
    mask = np.zeros(length, dtype=bool)
    for start, end in spans:
        mask[start:end] = True
    return mask


def _agreement(predicted: Mask, gold: Mask) -> Counts:
    return Counts(int((predicted & gold).sum()), int(predicted.sum()), int(gold.sum()), len(gold))


class _Mistakes:
    """Stretches of text that one side marks and the other does not, by their words, with the first place of each."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._first: dict[str, dict[str, Any]] = {}

    def add(self, name: str, reply: str, wrong: Mask) -> None:
        for is_wrong, places in groupby(range(len(reply)), key=lambda place: bool(wrong[place])):
            if not is_wrong:
                continue
            own = list(places)
            text = reply[own[0] : own[-1] + 1]
            start = own[0] + len(text) - len(text.lstrip())
            text = text.strip()
            key = " ".join(text.casefold().split())
            if not any(map(str.isalnum, key)):
                continue
            end = start + len(text)
            self._count[key] += 1
            place = {"example_id": name, "before": reply[max(0, start - CONTEXT) : start], "text": text}
            self._first.setdefault(key, place | {"after": reply[end : end + CONTEXT]})

    def most_frequent(self) -> list[dict[str, Any]]:
        """count, text, example_id, before, after; the most frequent first, of equals the longest."""
        order = sorted(self._count, key=lambda key: (-self._count[key], -len(key), key))
        return [{"count": self._count[key], **self._first[key]} for key in order[:SHOWN_MISTAKES]]
