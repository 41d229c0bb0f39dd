"""What every benchmark's rows must satisfy, checked row by row: of those that went by only ids and digests stay."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from palu.errors import UserError
from palu.tables import FORGET_PARTS, PROMPTED_PARTS, is_training_row

if TYPE_CHECKING:
    from palu.benchmarks.base import Example, Span


class RowChecks:
    """Checks the rows of one benchmark as they come; `finish` tells what only the end shows.

    place: what to name in errors, such as `benchmark village`. Per row an id is kept, per training row 16 bytes of its
    text's digest too.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.rows = 0
        self._ids: set[str] = set()
        # digest of a training row's text -> the row's id
        self._forget: dict[bytes, str] = {}
        self._others: dict[bytes, str] = {}
        self._trained: set[bytes] = set()
        self._held_out: list[bytes] = []
        self._has_forget_row = False

    def check(self, row: Example, spans: list[Span]) -> None:
        """Raise UserError for an id that was there before, an empty text, a span outside its reply, and a text that is
        both to be forgotten and not."""
        key = row["example_id"]
        if key in self._ids:
            raise UserError(f"{self.place}: example_id {key!r} names two rows; every row needs its own")
        self._ids.add(key)
        self.rows += 1
        is_document = row["prompt"] == "" and row["part"] not in PROMPTED_PARTS
        for column in ("reply",) if is_document else ("prompt", "reply"):
            if not row[column].strip():
                raise UserError(f"{self.place}: the {column} of row {key!r} is empty")
        self._check_spans(row, spans)
        if is_training_row(row):
            self._check_text(row)

    def finish(self) -> None:
        """Print how many held-out rows are trained on too. Raises UserError where nothing is to be forgotten."""
        if not self._has_forget_row:
            raise UserError(f"{self.place}: the forget set is empty: no row has part 'forget'")
        seen = sum(digest in self._trained for digest in self._held_out)
        if seen:
            held_out = len(self._held_out)
            print(f"{self.place}: {seen} of {held_out} held-out rows are also trained on: attacks tell nothing")

    def _check_spans(self, row: Example, spans: list[Span]) -> None:
        key, length = row["example_id"], len(row["reply"])
        for span in spans:
            start, end = span["char_start"], span["char_end"]
            if not 0 <= start < end <= length:
                raise UserError(
                    f"{self.place}: gold span {start}..{end} of row {key!r} is outside its {length} characters"
                )

    def _check_text(self, row: Example) -> None:
        key, part = row["example_id"], row["part"]
        text = f"{len(row['prompt'])}\n{row['prompt']}{row['reply']}"
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        is_forget = part in FORGET_PARTS
        self._has_forget_row |= part == FORGET_PARTS[0]
        own, other = (self._forget, self._others) if is_forget else (self._others, self._forget)
        own.setdefault(digest, key)
        twin = other.get(digest)
        if twin is not None:
            forgotten, kept = (key, twin) if is_forget else (twin, key)
            raise UserError(
                f"{self.place}: row {forgotten!r} is to be forgotten and row {kept!r} has the same prompt and "
                f"reply: no row may stand in both parts"
            )
        if part == "holdout":
            self._held_out.append(digest)
        else:
            self._trained.add(digest)
