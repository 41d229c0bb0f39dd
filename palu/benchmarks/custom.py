"""One's own forget request: files of one JSON object a line, each a question with its reply, or a document.

    {"prompt": "Where was Ada born?", "reply": "Ada was born in Lyon.", "spans": [{"text": "Lyon", "label": "place"}]}
    {"text": "Ada was born in Lyon and learnt the trade there.", "group": "Ada"}

Keys besides `prompt` and `reply`, or `text`, none of which must be there:

    id                  names the row in its file: text or a whole number
    group               who or what the row is about (default: the row by itself)
    spans               what is sensitive in the reply or text: [start, end], {"start": , "end": } or {"text": }, the
                        latter wherever it occurs; start and end are half-open and count characters (code points)
    paraphrase          the reply in other words; `paraphrases`: several, of which the evaluation reads the first
    paraphrased_prompt  the question in other words
    wrong               wrong replies, for the truth ratio

The last three are of rows with a prompt. Spans go to the table of gold spans, which the tagger `annotations` reads.

A neighbour (the files `near` and `far`) is a question that must still be answered: a row of prompt, reply and spans,
these being what the answer has to contain, and of id and group where one likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from palu import jsonl
from palu.benchmarks.base import GOLD, BenchmarkSettings, Example, item_rows
from palu.benchmarks.records import Record, checked_text, spans_of, text_of, texts_of
from palu.errors import UserError
from palu.files import file_digest
from palu.jsonl import shown
from palu.settings import unknown

PARTS = ("forget", "validation", "retain", "holdout", "near", "far")
KEYS = (
    *("prompt", "reply", "text", "id", "group", "spans"),
    *("paraphrase", "paraphrases", "paraphrased_prompt", "wrong"),
)
# What belongs to a question, not to a document.
QUESTION_KEYS = ("paraphrase", "paraphrases", "paraphrased_prompt", "wrong")
# `palu.tables.NEIGHBOUR_PARTS`, whose module loads Arrow: half a second that reading a study does not pay
NEIGHBOURS = ("near", "far")
NEIGHBOUR_KEYS = ("prompt", "reply", "id", "group", "spans")
NO_RETAIN = "no retain rows were given: nothing holds what the model knows besides the forget rows' own common words"
NO_COST = ", and nothing measures what the forgetting cost"

FilePath = Annotated[str, Field(min_length=1)]


class Settings(BenchmarkSettings):
    """forget: what is to be forgotten. retain: what must be kept, beside which methods train; null says that there is
    nothing, and then no method may weigh a retain term and no retain model is trained. validation: further rows to
    forget that are not reported: `training.stop` watches them. holdout: rows that no model has seen: membership
    attacks need them. near, far: questions next to what is forgotten and far from it that no model is trained on and
    every model should answer as before.

    All are files named .jsonl; a relative path starts at the folder in which the program runs.
    """

    forget: FilePath
    retain: FilePath | None
    validation: FilePath | None = None
    holdout: FilePath | None = None
    near: FilePath | None = None
    far: FilePath | None = None

    @field_validator(*PARTS)
    @classmethod
    def _is_jsonl(cls, value: str | None) -> str | None:
        if value is not None and (Path(value).suffix != ".jsonl" or "\0" in value):
            raise ValueError("is no file of one JSON object a line; allowed: a path that ends in .jsonl")
        return value

    @model_validator(mode="after")
    def _each_file_once(self) -> Settings:
        for number, part in enumerate(PARTS):
            path = getattr(self, part)
            twin = next((other for other in PARTS[:number] if path and getattr(self, other) == path), None)
            if twin:
                raise ValueError(f"is the file of both {twin} and {part}; allowed: a file for each: {path!r}")
        return self

    @property
    def paths(self) -> dict[str, Path]:
        """Part -> its file, for the parts that have one."""
        return {part: Path(path) for part in PARTS if (path := getattr(self, part))}

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(str(path) for path in self.paths.values())

    @property
    def split_name(self) -> str:
        # cut: a longer name of a file would make one that no file system takes
        return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(self.forget).stem)[:60].strip("-") or "forget"

    @property
    def has_retain_rows(self) -> bool:
        return self.retain is not None

    @property
    def validation_hint(self) -> str | None:
        return None if self.validation else "validation: a file of further rows to forget"

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self.retain else (NO_RETAIN + ("" if self.near or self.far else NO_COST),)


def examples(settings: Settings) -> Iterator[Example]:
    """The rows of every file, in the order of `PARTS` and of their lines.

    Raises UserError, in one line that names file, line, key and value, at the first mistake.
    """

    def refuse(error: UserError) -> None:
        raise error

    return _rows(settings, refuse)


def problems(settings: Settings) -> Iterator[UserError]:
    """Every mistake in the files, one for each line that has any."""
    found: list[UserError] = []
    for _row in _rows(settings, found.append):
        yield from found
        found.clear()
    yield from found


def _rows(settings: Settings, complain: Callable[[UserError], None]) -> Iterator[Example]:
    """The rows of the lines about which there is nothing to complain."""
    sound = {}
    for part, path in settings.paths.items():
        try:
            jsonl.check_file(path)
            sound[part] = path
        except UserError as error:
            complain(error)
    revision = file_digest(*sound.values())
    asked: dict[str, str] | None = {} if any(part in sound for part in NEIGHBOURS) else None
    for part, path in sound.items():
        lines_by_id: dict[str, int] = {}
        rows = 0
        for number, line in jsonl.numbered_lines(path):
            try:
                record = jsonl.json_object(line, f"{path}: line {number}")
                made = _item(record, part, rows, revision, f"{path}: line {number}")
                _note_id(record, number, lines_by_id, f"{path}: line {number}")
                if asked is not None:
                    _note_questions(made, asked, f"{path}: line {number}")
            except UserError as error:
                complain(error)
                continue
            rows += 1
            yield from made
        if not rows:
            complain(UserError(f"{path}: holds no row for {part}; allowed: one JSON object a line, at least one"))


def _note_id(record: Record, number: int, lines_by_id: dict[str, int], place: str) -> None:
    if "id" in record:
        first = lines_by_id.setdefault(str(record["id"]), number)
        if first != number:
            raise UserError(
                f"{place}: id: {record['id']!r} is the id of line {first} too; allowed: each once in a file"
            )


def _note_questions(made: list[Example], asked: dict[str, str], place: str) -> None:
    """Keep where each question is asked. asked: question, case and spaces aside -> its first place. Raises UserError
    for a neighbour's question that was asked before: trained on, or counted twice."""
    for row in made:
        question = " ".join(row["prompt"].casefold().split())
        if row["part"] in NEIGHBOURS and question in asked:
            allowed = "a question that no other row asks"
            raise UserError(
                f"{place}: prompt: {shown(row['prompt'])} is asked in {asked[question]} too; allowed: {allowed}"
            )
        asked.setdefault(question, place)


def _item(record: Record, part: str, row: int, revision: str, place: str) -> list[Example]:
    """The rows of one record. Raises UserError naming `place` and the key."""
    is_neighbour = part in NEIGHBOURS
    for key in record:
        if key not in (allowed := NEIGHBOUR_KEYS if is_neighbour else KEYS):
            raise unknown("key", key, place, allowed)
    is_document = _is_document(record, place)
    prompt = "" if is_document else text_of(record, "prompt", place)
    reply = text_of(record, "text" if is_document else "reply", place)
    # two marks, so that the id "1" is not the name of row 1
    item_id = f"{part}:{_id(record['id'], place)}" if "id" in record else f"{part}/{row}"
    made = item_rows(
        part,
        row,
        item_id=item_id,
        group=text_of(record, "group", place) if "group" in record else item_id,
        source_revision=revision,
        prompt=prompt,
        reply=reply,
        paraphrases=_paraphrases(record, place),
        wrong_replies=texts_of(record, "wrong", place) if "wrong" in record else (),
        paraphrased_prompt=(text_of(record, "paraphrased_prompt", place) if "paraphrased_prompt" in record else None),
    )
    spans = spans_of(record, reply, place)
    if is_neighbour and not spans:
        raise UserError(f"{place}: spans: none; allowed: one at least, of what the answer has to contain")
    for example in made:
        if example["reply_kind"] == "original":
            example[GOLD] = spans
    return made


def _is_document(record: Record, place: str) -> bool:
    if "text" not in record:
        for key in ("prompt", "reply"):
            if key not in record:
                raise UserError(f"{place}: the key {key!r} is missing; allowed: prompt and reply, or text")
        return False
    for key in ("prompt", "reply", *QUESTION_KEYS):
        if key in record:
            raise UserError(f"{place}: has both 'text' and {key!r}; allowed: a document (text), or prompt and reply")
    return True


def _id(value: Any, place: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return checked_text(value, f"{place}: id", "text or a whole number")


def _paraphrases(record: Record, place: str) -> list[str]:
    if "paraphrase" in record and "paraphrases" in record:
        raise UserError(f"{place}: has both 'paraphrase' and 'paraphrases'; allowed: one of them")
    if "paraphrase" in record:
        return [text_of(record, "paraphrase", place)]
    return texts_of(record, "paraphrases", place) if "paraphrases" in record else []
