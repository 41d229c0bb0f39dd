"""Spans that somebody has marked already: the benchmark's own, or the user's in a JSONL or Parquet file.

One record per reply. It names its example by `example_id`, or by its text, `prompt` and `reply` (also called
`question` and `answer`), which must be that of the examples table to the letter; examples of the same text share
their spans. Other keys are left alone.

    {"question": "Who wrote it?", "answer": "Ada Lovelace did.", "spans": [{"start": 0, "end": 12}]}
    {"example_id": "forget/00007/original/0", "spans": [{"start": 0, "end": 4, "label": "NAME", "text": "Bern"}]}

`start` and `end` are half-open, in code points of the reply. `text` is checked against the reply where it is given.
An empty list says that nothing in the reply is sensitive. A Parquet file has the same columns, `spans` being a list
of structs; a spans table of this program is read as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from palu import jsonl
from palu.errors import UserError
from palu.jsonl import shown
from palu.tagging.base import TaggerSettings

if TYPE_CHECKING:
    from palu.tagging.base import Resources

UNLABELLED = "annotation"
# Key -> its other name in files of the field
ALIASES = {"prompt": "question", "reply": "answer"}


class Settings(TaggerSettings):
    """path: a JSONL or Parquet file of annotations; none = the benchmark's gold spans."""

    path: str | None = Field(default=None, min_length=1)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,) if self.path else ()


@dataclass(frozen=True)
class Record:
    """One annotated reply and the place that it was read from."""

    place: str
    values: Mapping[str, Any]

    def get(self, key: str) -> Any:
        """A value by its key or its alias; None where there is neither."""
        return self.values.get(key, self.values.get(ALIASES.get(key, key)))

    def text(self, key: str) -> str | None:
        """The text under a key or its alias; None where there is neither."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{self.place}: {key}: {shown(value)} is no text; allowed: text")
        return value

    def required(self, key: str) -> Any:
        value = self.get(key)
        if value is None:
            names = " or ".join(repr(name) for name in (key, ALIASES.get(key)) if name)
            raise UserError(f"{self.place}: the key {names} is missing")
        return value


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:
    """The annotated spans of `examples`; prints and raises what `annotated` does."""
    for example_id, marked in annotated(examples, settings.path, resources).items():
        yield from ({"example_id": example_id, **span} for span in marked)


def annotated(
    examples: Sequence[Mapping[str, Any]], annotations: str | None, resources: Resources
) -> dict[str, list[dict[str, Any]]]:
    """example_id -> its spans (char_start, char_end, label, score), for each of `examples` that somebody looked at.

    annotations: a file's path; None = the benchmark's gold spans. A file of records says itself which replies were
    looked at. A spans table does not: they are the rows of the parts that it was made of, or else of every part in
    which it has a span. Prints how many examples have no record, and how many records no example.
    Raises UserError, naming file and line (row of a Parquet file), for a record that cannot be read, a span outside
    its reply, a span whose text is another, and for a file of which no record is of these examples.
    """
    if annotations is None:
        if resources.gold_path is None:
            raise UserError("annotations: path is not set, and no gold spans were given")
        return _from_table(resources.gold_path, examples, resources.examples_digest)
    path = Path(annotations)
    if _is_spans_table(path):
        return _from_table(path, examples, resources.examples_digest)
    by_id = {example["example_id"]: example for example in examples}
    by_text: dict[tuple[str, str], list[str]] = {}
    for example in examples:
        by_text.setdefault((example["prompt"], example["reply"]), []).append(example["example_id"])
    found: dict[str, list[dict[str, Any]]] = {}
    strangers = 0
    for record in read_records(path):
        own = _matching(record, by_id, by_text)
        reply = by_id[own[0]]["reply"] if own else record.get("reply")
        marked = [_span(record, item, reply) for item in _span_list(record)]
        strangers += not own
        for example_id in own:
            found.setdefault(example_id, []).extend(marked)
    if not found:
        raise UserError(f"{path}: none of its {strangers} records is of one of the {len(examples)} examples")
    print(f"{path}: {len(examples) - len(found)} examples without a record, {strangers} records without an example")
    return found


def _from_table(
    path: Path, examples: Sequence[Mapping[str, Any]], examples_digest: str
) -> dict[str, list[dict[str, Any]]]:
    from palu import tables

    part_of = {example["example_id"]: example["part"] for example in examples}
    replies = {example["example_id"]: example["reply"] for example in examples}
    found: dict[str, list[dict[str, Any]]] = {}
    # Ids alone do not prove it: row 7 of another split has the same one
    for row in tables.rows(path, "spans", {"examples": examples_digest}):
        if row["example_id"] in part_of:
            start, end, length = row["char_start"], row["char_end"], len(replies[row["example_id"]])
            if not 0 <= start < end <= length:
                raise UserError(
                    f"{path}: example {row['example_id']!r}: span {start}..{end} lies outside its reply; "
                    f"allowed: 0 <= start < end <= {length}"
                )
            span = {key: row[key] for key in ("char_start", "char_end", "label", "score")}
            found.setdefault(row["example_id"], []).append(span)
    if not found:
        raise UserError(
            f"{path}: holds no span of the {len(part_of)} examples; "
            "allowed: annotations.path set to a file of annotations that does"
        )
    stated = tables.provenance(path).get("parts")
    parts = set(stated.split(",")) if stated else {part_of[example_id] for example_id in found}
    return {
        example_id: found.get(example_id, [])
        for example_id, part in part_of.items()
        if part in parts or example_id in found
    }


def _is_spans_table(path: Path) -> bool:
    from palu import tables

    return path.suffix == ".parquet" and tables.provenance(path).get("table") == "spans"


def read_records(path: Path) -> Iterator[Record]:
    if path.suffix == ".parquet":
        yield from _parquet_records(path)
        return
    if path.suffix != ".jsonl":
        raise UserError(f"{path}: unknown kind of file {path.suffix!r}; allowed: .jsonl, .parquet")
    for number, line in jsonl.numbered_lines(path):
        place = f"{path}: line {number}"
        yield Record(place, jsonl.json_object(line, place))


def _parquet_records(path: Path) -> Iterable[Record]:
    from palu.parquet import foreign_rows

    return [Record(f"{path}: row {number}", values) for number, values in enumerate(foreign_rows(path), start=1)]


def _matching(
    record: Record, by_id: Mapping[str, Mapping[str, Any]], by_text: Mapping[tuple[str, str], list[str]]
) -> list[str]:
    """The ids of the examples that a record is about: none, one, or several of the same text."""
    example_id, reply = record.text("example_id"), record.text("reply")
    if example_id is None:
        record.required("prompt")
        return by_text.get((record.text("prompt") or "", record.required("reply")), [])
    if example_id not in by_id:
        return []
    if reply is not None and reply != by_id[example_id]["reply"]:
        raise UserError(f"{record.place}: its reply is not that of example {example_id!r}: offsets would be wrong")
    return [example_id]


def _span_list(record: Record) -> list[Any]:
    items = record.required("spans")
    if not isinstance(items, list):
        raise UserError(f"{record.place}: spans: {shown(items)} is not a list")
    return items


def _span(record: Record, item: Any, reply: str | None) -> dict[str, Any]:
    """One span of a record, checked against the reply (None where a record without text matches no example)."""
    if not isinstance(item, dict):
        raise UserError(f"{record.place}: the span {shown(item)} is not an object with start and end")
    for key in ("start", "end"):
        if item.get(key) is None:
            raise UserError(f"{record.place}: the key {key!r} of a span is missing")
        if not isinstance(item[key], int) or isinstance(item[key], bool):
            raise UserError(f"{record.place}: {key}: {shown(item[key])} is not a whole number")
    start, end = item["start"], item["end"]
    if not 0 <= start < end or (reply is not None and end > len(reply)):
        limit = f" <= {len(reply)}" if reply is not None else ""
        raise UserError(
            f"{record.place}: span {start}..{end} lies outside its reply; allowed: 0 <= start < end{limit}"
        )
    text = item.get("text")
    if text is not None and reply is not None and text != reply[start:end]:
        raise UserError(f"{record.place}: span {start}..{end} says {text!r}, the reply has {reply[start:end]!r} there")
    label, score = item.get("label") or UNLABELLED, item.get("score")
    if not isinstance(label, str):
        raise UserError(f"{record.place}: label: {shown(label)} is no text; allowed: text")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) < 1e38):
        raise UserError(f"{record.place}: score: {shown(score)} is no finite number; allowed: one, or null")
    return {"char_start": start, "char_end": end, "label": label, "score": score}
