"""Spans from the word labels that the authors of TPO and PALU publish, as a JSONL file that `annotations` reads.

Their files (`data/palu/forget05_with_common_words_gpt` in nxZhai/PALU, the same bytes in xzhou98/Unlearning-TPO) have
a row per reply: `question`, `answer`, and under `target_words` a JSON text of the words that GPT found sensitive:

    [{"word": "Ada Lovelace", "start": 3, "end": 15}]

`start` and `end` are half-open, in code points of the answer. A row goes to its example by its texts, which are those
of TOFU to the letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palu.errors import UserError, first_line
from palu.files import write_text
from palu.jsonl import shown
from palu.tagging.annotations import Record, read_records

KEY = "target_words"


def convert(words: Path, out: Path) -> None:
    """Write one record per reply of `words` to `out`, and print how many words found no place in their reply.

    words: a file .arrow, .json (a list of rows), .jsonl or .parquet, or a folder of .arrow files as the library
    datasets saves it. A word that the reply does not have from `start` to `end` is left out and counted.
    Raises UserError, naming file and row, for a file or a row of another layout, and where no word is in its place.
    """
    found: list[dict[str, Any]] = []
    lost = []
    for record in _records(words):
        record.required("prompt"), record.required("reply")
        prompt, reply = record.text("prompt"), record.text("reply") or ""
        spans = []
        for word in _words(record):
            start, end, text = word["start"], word["end"], word["word"]
            if 0 <= start < end and reply[start:end] == text:
                spans.append({"start": start, "end": end, "text": text})
            else:
                lost.append(f"{record.place}: {shown(text)} at {start}..{end}")
        found.append({"prompt": prompt, "reply": reply, "spans": sorted(spans, key=lambda span: span["start"])})
    marked = sum(len(record["spans"]) for record in found)
    if not marked:
        raise UserError(f"{words}: {len(found)} rows and no word in its place{f', such as {lost[0]}' if lost else ''}")
    write_text(out, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in found))
    empty = sum(not record["spans"] for record in found)
    print(f"{out}: {len(found)} replies, {marked} words marked, {empty} replies without one")
    print(f"{words}: {len(lost)} words are not at their place in the reply and are left out", *lost[:10], sep="\n  ")


def _words(record: Record) -> list[dict[str, Any]]:
    """The labelled words of a row; none where its list is null, which the authors take for an empty one."""
    if KEY not in record.values:
        raise UserError(f"{record.place}: the key {KEY!r} is missing")
    value = record.values[KEY]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UserError(f"{record.place}: {KEY}: {shown(value)} is not JSON: {first_line(error)}") from None
    value = [] if value is None else value
    if not isinstance(value, list):
        raise UserError(f"{record.place}: {KEY}: {shown(value)} is not a list")
    for word in value:
        kinds = {"word": str, "start": int, "end": int}
        if not isinstance(word, dict) or any(type(word.get(key)) is not kind for key, kind in kinds.items()):
            raise UserError(f"{record.place}: {KEY}: {shown(word)}; allowed: an object with word, start and end")
    return value


def _records(path: Path) -> Iterator[Record]:
    if path.is_dir():
        files = sorted(path.glob("*.arrow"))
        if not files:
            raise UserError(f"{path}: holds no .arrow file; allowed: a folder that the library datasets saved")
        for file in files:
            yield from _numbered(file, _arrow_rows(file))
    elif path.suffix == ".arrow":
        yield from _numbered(path, _arrow_rows(path))
    elif path.suffix == ".json":
        yield from _numbered(path, _json_rows(path))
    else:
        yield from read_records(path)


def _numbered(path: Path, rows: list[Any]) -> Iterator[Record]:
    for number, values in enumerate(rows, start=1):
        place = f"{path}: row {number}"
        if not isinstance(values, dict):
            raise UserError(f"{place}: {shown(values)} is not an object with question, answer and {KEY}")
        yield Record(place, values)


def _arrow_rows(path: Path) -> list[Any]:
    import pyarrow as pa

    try:
        with pa.OSFile(str(path)) as file:
            rows: list[Any] = pa.ipc.open_stream(file).read_all().to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable Arrow stream: {first_line(error)}") from None
    return rows


def _json_rows(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {first_line(error)}") from None
    if not isinstance(rows, list):
        raise UserError(f"{path}: holds no list; allowed: a list of rows")
    return rows
