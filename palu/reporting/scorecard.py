"""The scorecard of a study's taggers: a page, a spreadsheet, and one tagger's scores for a terminal.

The scores come from `palu score-tags`, the coverage and the time from `palu tag`; nothing is computed here but the
line of what marking every character would score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from palu.errors import UserError
from palu.files import canonical_json, read_json, write_text
from palu.inert import visible
from palu.reporting.cells import Cell, Row, Table, csv_text
from palu.reporting.index import Part
from palu.reporting.templates import render
from palu.settings import Count, NonNegativeNumber, Number, PositiveCount, Settings

UNITS = ("character", "word", "token", "span")
MEASURES = ("precision", "recall", "f1")
COUNTS = ("rows", "rows_without_gold", "rows_without_gold_marked", "rows_without_prediction")
COVERAGE = ("rows", "rows_without_span", "fallback_rows", "spans", "marked_characters", "characters", "seconds")
EVERYTHING = "every character"
TITLES = {"precision": "precision", "recall": "recall", "f1": "F1"}


class TaggerEntry(Part):
    """A tagger under its name in the study, and where its coverage (facts) and its scores lie.

    settings: those that are not its defaults.
    """

    label: str
    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    of: list[str] = Field(default_factory=list)
    facts: str
    scores: str


class SetEntry(Part):
    """The rows on which taggers were scored, or why they were not."""

    name: str
    benchmark: dict[str, Any] = Field(default_factory=dict)
    skipped: str | None = None
    taggers: list[TaggerEntry] = Field(default_factory=list)


class ScorecardIndex(Part):
    """What the scorecard is about. Paths are relative to the working directory; gold: the tagger compared with."""

    study: str
    gold: str
    sets: list[SetEntry] = Field(min_length=1)


class Facts(Part):
    """What `palu tag` counted."""

    rows: Count
    rows_without_span: Count
    fallback_rows: Count
    spans: Count
    marked_characters: Count
    characters: PositiveCount
    seconds: NonNegativeNumber


class Unit(Part):
    """The agreement in one unit; None where a divisor was 0, or the total is not known."""

    precision: Number | None
    recall: Number | None
    f1: Number | None
    gold: Count
    total: Count | None


class Mistake(Part):
    """A stretch that one side marks and the other does not, in its first place."""

    count: Count
    example_id: str
    before: str
    text: str
    after: str


class Scores(Part):
    """What `palu score-tags` found."""

    rows: Count
    rows_without_gold: Count
    rows_without_gold_marked: Count
    rows_without_prediction: Count
    units: dict[str, Unit]
    misses: list[Mistake] = Field(default_factory=list)
    false_alarms: list[Mistake] = Field(default_factory=list)


@dataclass(frozen=True)
class Scored:
    """A tagger with what was measured of it."""

    entry: TaggerEntry
    facts: Mapping[str, Any]
    scores: Mapping[str, Any]

    @property
    def seconds_per_thousand(self) -> float | None:
        """Of replies, on the machine that tagged."""
        return 1000 * self.facts["seconds"] / self.facts["rows"] if self.facts["rows"] else None

    @property
    def coverage(self) -> float:
        """The share of the replies' characters that it marks, the fallback included."""
        return float(self.facts["marked_characters"] / self.facts["characters"])

    def measure(self, unit: str, measure: str) -> float | None:
        """precision, recall or f1 of a unit; None where the unit was not counted or the measure is undefined."""
        found: float | None = self.scores["units"].get(unit, {}).get(measure)
        return found

    @property
    def settings_text(self) -> str:
        """Its kind, what it combines and its settings, in short."""
        parts = [f"of {', '.join(self.entry.of)}"] if self.entry.of else []
        parts += [f"{key}: {canonical_json(value)}" for key, value in self.entry.settings.items()]
        return f"{self.entry.name}: {', '.join(parts)}" if parts else self.entry.name


@dataclass(frozen=True)
class ScoredSet:
    """The taggers of one set of rows, best F1 of characters first."""

    entry: SetEntry
    taggers: tuple[Scored, ...]

    @property
    def rows(self) -> Mapping[str, Any]:
        """How many rows were compared, and how many of them have no gold span: the same for every tagger."""
        return self.taggers[0].scores

    def everything(self, unit: str, measure: str) -> float | None:
        """What marking every character would score."""
        its = self.rows["units"].get(unit)
        if its is None or not its["total"]:
            return None
        gold, total = float(its["gold"]), float(its["total"])
        return {"precision": gold / total, "recall": 1.0, "f1": 2 * gold / (total + gold)}[measure]

    @property
    def table(self) -> Table:
        """Every measure per unit, and what the tagger covers."""
        pairs = [(unit, measure) for unit in UNITS if unit != "token" for measure in MEASURES]
        columns = [(f"{TITLES[measure]} per {unit}", "") for unit, measure in pairs]
        columns += [
            ("coverage", "share of the replies' characters that are marked"),
            (
                "replies without a span",
                "the tagger itself finds nothing; under it: how many of them the fallback serves",
            ),
            ("marked without gold", "of the replies without any gold span, those in which something is marked"),
            ("seconds per 1,000 replies", "on the machine that tagged, one process"),
        ]
        rows = [Row(each.entry.label, tuple(_page_cells(each, pairs)), each.settings_text) for each in self.taggers]
        shares = [Cell(_share(self.everything(*pair))) for pair in pairs]
        rows.append(Row(EVERYTHING, (*shares, Cell("100.0%"), *[Cell("–")] * 3), "for comparison"))
        return Table(f"Scores on {self.entry.name}", "Tagger", tuple(columns), tuple(rows))


def _page_cells(its: Scored, pairs: list[tuple[str, str]]) -> Iterator[Cell]:
    yield from (Cell(_share(its.measure(*pair))) for pair in pairs)
    yield Cell(f"{100 * its.coverage:.1f}%")
    served = its.facts["fallback_rows"]
    detail = f"{served} by {its.entry.settings.get('fallback', 'the fallback')}" if served else ""
    yield Cell(f"{its.facts['rows_without_span']} of {its.facts['rows']}", detail)
    yield Cell(f"{its.scores['rows_without_gold_marked']} of {its.scores['rows_without_gold']}")
    yield Cell(_share(its.seconds_per_thousand, 2))


def write_scorecard(index: Mapping[str, Any], out_folder: Path) -> None:
    """Write taggers.html and taggers.csv into `out_folder`; the same index over the same files gives the same bytes.

    Raises UserError in one line for a key of the index or a file that is missing or broken.
    """
    card = ScorecardIndex.parse(index, "scorecard index")
    sets = [_read_set(entry) for entry in card.sets]
    page = render("scorecard.html.j2", card=card, sets=sets)
    for name, text in (("taggers.html", page), ("taggers.csv", csv_text(_lines(card, sets)))):
        write_text(out_folder / name, text)


def _read_set(entry: SetEntry) -> ScoredSet:
    found = [Scored(each, _read(Facts, each.facts), _read(Scores, each.scores)) for each in entry.taggers]
    found.sort(key=lambda scored: -(scored.measure("character", "f1") or 0))
    if not found and entry.skipped is None:
        raise UserError(f"scorecard: {entry.name}: has no tagger besides the gold one; allowed: one or more")
    return ScoredSet(entry, tuple(found))


def _read(kind: type[Settings], path: str) -> Mapping[str, Any]:
    return kind.parse(read_json(Path(path)), path).model_dump()


def _share(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _lines(card: ScorecardIndex, sets: list[ScoredSet]) -> Iterator[list[Any]]:
    """One row per set of rows and tagger. Numbers have all their digits; an empty cell was not measured."""
    head = ["study", "rows_of", "tagger", "kind", "settings", "of", "gold"]
    head += [f"{unit}_{measure}" for unit in UNITS for measure in MEASURES]
    head += [*COUNTS, *(f"tagged_{key}" for key in COVERAGE), "seconds_per_1000_replies", "skipped"]
    yield head
    for each in sets:
        if not each.taggers:
            yield [card.study, each.entry.name, *[None] * (len(head) - 3), each.entry.skipped]
        for its in each.taggers:
            entry = its.entry
            about = [entry.label, entry.name, canonical_json(entry.settings), " ".join(entry.of), card.gold]
            shares = [its.measure(unit, measure) for unit in UNITS for measure in MEASURES]
            counts = [*(its.scores[key] for key in COUNTS), *(its.facts[key] for key in COVERAGE)]
            yield [card.study, each.entry.name, *about, *shares, *counts, its.seconds_per_thousand, None]


def score_text(scores: Mapping[str, Any]) -> str:
    """What `palu score-tags` found, as lines for a terminal."""
    lines = [
        f"{scores['rows']} rows, {scores['rows_without_gold']} of them without any gold span "
        f"({scores['rows_without_gold_marked']} of these are marked); "
        f"{scores['rows_without_prediction']} rows without any predicted span",
        f"{'':9}  precision  recall     F1",
    ]
    for unit in UNITS:
        if unit in scores["units"]:
            shares = [_share(scores["units"][unit][measure]) for measure in MEASURES]
            lines.append(f"{unit:9}  {shares[0]:>9}  {shares[1]:>6}  {shares[2]:>5}")
    for key, title in (("misses", "missed"), ("false_alarms", "false")):
        for mistake in scores.get(key, ()):
            line = f"{mistake['before']}[{mistake['text']}]{mistake['after']}"
            lines.append(f"{title} {mistake['count']}×  {' '.join(visible(line).split())}")
    return "\n".join(lines)
