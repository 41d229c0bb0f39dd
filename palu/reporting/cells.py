"""What the pages' tables and the spreadsheets are made of."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from palu.inert import spreadsheet_safe


@dataclass(frozen=True)
class Cell:
    """A cell: text, a smaller second line, a word of the style sheet, the number of a footnote, and a tooltip."""

    text: str
    detail: str = ""
    mark: str = ""
    note: int | None = None
    title: str = ""


@dataclass(frozen=True)
class Row:
    """A row: its name and a smaller second line, the arm's colour (None for a reference), and its cells."""

    name: str
    cells: tuple[Cell, ...]
    detail: str = ""
    colour: str | None = None


@dataclass(frozen=True)
class Table:
    """What it shows, the heading of the names, the headings of the columns (title, explanation), and rows."""

    label: str
    first: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


@dataclass
class Notes:
    """Numbered footnotes; the same text is numbered once."""

    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1

    def missing(self, reason: str | None) -> Cell:
        reason = reason or "no reason was given"
        return Cell("–", note=self.number(reason), title=reason)


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV, texts safe to open in a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([spreadsheet_safe(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return buffer.getvalue()
