"""One record of a user's file of rows: its texts and its spans, checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from palu.benchmarks.base import Span
from palu.errors import UserError
from palu.jsonl import shown
from palu.settings import unknown

SPAN_KEYS = ("start", "end", "label", "text")
UNLABELLED = "annotation"

Record = Mapping[str, Any]


def texts_of(record: Record, key: str, place: str) -> list[str]:
    """The texts in the list under a key. Raises UserError naming `place`, as the other functions here do."""
    values = record[key]
    if not isinstance(values, list):
        raise UserError(f"{place}: {key}: {shown(values)} is not a list; allowed: a list of texts")
    return [checked_text(value, f"{place}: {key}[{index}]") for index, value in enumerate(values)]


def text_of(record: Record, key: str, place: str) -> str:
    """The text under a key."""
    return checked_text(record[key], f"{place}: {key}")


def checked_text(value: Any, place: str, allowed: str = "text") -> str:
    """`value`, if it is a text that says something and that every table can hold."""
    if not isinstance(value, str):
        raise UserError(f"{place}: {shown(value)} is no text; allowed: {allowed}")
    if not value.strip():
        raise UserError(f"{place}: {shown(value)} is empty; allowed: text with a character besides white space")
    if "\0" in value:
        raise UserError(f"{place}: character {value.index(chr(0))} is NUL; allowed: text without it")
    lone = re.search("[\ud800-\udfff]", value)
    if lone:
        code = f"\\u{ord(lone.group()):04x}"
        raise UserError(
            f"{place}: character {lone.start()} is half of a surrogate pair ({code}); allowed: whole characters"
        )
    return value


def spans_of(record: Record, reply: str, place: str) -> list[Span]:
    """The gold spans of a record's reply or text, in the order of its list."""
    if "spans" not in record:
        return []
    if not isinstance(record["spans"], list):
        raise UserError(f"{place}: spans: {shown(record['spans'])} is not a list; allowed: a list of spans")
    return [
        span for index, item in enumerate(record["spans"]) for span in _span(item, reply, f"{place}: spans[{index}]")
    ]


def _span(item: Any, reply: str, place: str) -> Iterator[Span]:
    """The spans of one entry: one, or one for each place where its text occurs."""
    if isinstance(item, list) and len(item) == 2:
        item = {"start": item[0], "end": item[1]}
    if not isinstance(item, dict):
        allowed = '[start, end], {"start": , "end": } or {"text": }'
        raise UserError(f"{place}: {shown(item)} is no span; allowed: {allowed}, each of the last two with a label")
    for key in item:
        if key not in SPAN_KEYS:
            raise unknown("key", key, place, SPAN_KEYS)
    label = text_of(item, "label", place) if "label" in item else UNLABELLED
    text = text_of(item, "text", place) if "text" in item else None
    if text is not None and "start" not in item and "end" not in item:
        found = [match.span() for match in re.finditer(re.escape(text), reply)]
        if not found:
            raise UserError(
                f"{place}: text: {shown(text)} does not occur in the reply; allowed: a part of it, to the letter"
            )
    else:
        found = [_bounds(item, reply, place)]
        start, end = found[0]
        if text is not None and text != reply[start:end]:
            raise UserError(
                f"{place}: text: {shown(text)}, but the reply has {shown(reply[start:end])} at {start}..{end}; "
                "allowed: the same, or one of the two left out"
            )
    yield from ({"char_start": start, "char_end": end, "label": label} for start, end in found)


def _bounds(item: Record, reply: str, place: str) -> tuple[int, int]:
    for key in ("start", "end"):
        if key not in item:
            raise UserError(f"{place}: the key {key!r} is missing; allowed: start and end, or text")
        if not isinstance(item[key], int) or isinstance(item[key], bool):
            raise UserError(f"{place}: {key}: {shown(item[key])} is not a whole number; allowed: 0 to {len(reply)}")
    start, end = item["start"], item["end"]
    if not 0 <= start < end <= len(reply):
        raise UserError(
            f"{place}: {start}..{end} is outside the reply; allowed: 0 <= start < end <= {len(reply)}, its characters"
        )
    return start, end
