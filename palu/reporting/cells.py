"""Cells, rows and footnotes of the page's tables, and how numbers are written in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from palu.reporting.statistics import Spread

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: text, a smaller second line, marks (`best`, `tie`, `under`, `over`...), a footnote."""

    text: str
    detail: str = ""
    marks: tuple[str, ...] = ()
    note: int | None = None
    title: str = ""


@dataclass(frozen=True)
class Row:
    """A row: its name, its kind (`reference` or `arm`), the arm's place in the colour order, and its cells."""

    name: str
    kind: str
    detail: str
    series: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Headings (title, explanation) and rows."""

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

    def missing(self, reason: str) -> Cell:
        return Cell("–", note=self.number(reason), title=reason)


def number_text(value: float) -> str:
    """A number as the tables show it: three decimals, or three digits and a power of ten where that says nothing."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.0005:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def p_text(value: float) -> str:
    """A p-value: four decimals while they tell neighbours apart, else a power of ten."""
    return f"{value:.4f}" if value >= 0.001 else number_text(value)


def signed_text(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def percent_text(value: float) -> str:
    """A signed percentage of a metric that is one already."""
    return f"{value:+.1f}".replace("-", "−")


def few(names: Sequence[str], limit: int = 4) -> str:
    """The names, or the first of them and how many more there are."""
    more = f"; and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more


def seeds_text(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def spread_cell(values: Spread, marks: tuple[str, ...] = ()) -> Cell:
    """Mean, and under it the deviation where there are seeds to have one."""
    detail = f"±{number_text(values.deviation)}" if values.deviation is not None else ""
    return Cell(number_text(values.mean), detail, marks, title=f"{values.mean:.6g}")
