"""Small tables for tests of taggers: rows of replies, and spans written as marked text."""

import re
from pathlib import Path

from palu import tables


def example(number: int, prompt: str, reply: str, part: str = "forget", group: str = "g") -> dict:
    name = f"{part}/{number:05d}/original/0"
    return {
        "example_id": name,
        "item_id": name,
        "reply_kind": "original",
        "reply_index": 0,
        "prompt_kind": "original",
        "part": part,
        "prompt": prompt,
        "reply": reply,
        "group": group,
        "source_revision": "1",
    }


def unmarked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """'a [b c] d' -> the text without brackets, and what stood in them."""
    plain, spans = "", []
    for piece in re.split(r"(\[[^\]]*\])", text):
        start = len(plain)
        plain += piece.strip("[]") if piece.startswith("[") else piece
        if piece.startswith("["):
            spans.append((start, len(plain)))
    return plain, spans


def write_examples(path: Path, rows: list[dict]) -> Path:
    tables.write(path, "examples", rows, {})
    return path


def write_spans(path: Path, examples: Path, spans: dict[str, list[tuple[int, int]]], **facts: str) -> Path:
    """A spans table of `examples`; facts: further provenance, such as parts."""
    rows = [
        {"example_id": name, "char_start": start, "char_end": end, "label": "x", "score": None, "tagger": "t"}
        for name, own in spans.items()
        for start, end in own
    ]
    tables.write(path, "spans", rows, {"examples": tables.content_digest(examples), **facts})
    return path
