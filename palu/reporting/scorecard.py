"""The scorecard of a study's taggers: a page, a spreadsheet, and one tagger's scores for a terminal.

The scores come from `palu score-tags`, the coverage and the time from `palu tag`; nothing is computed here but the
line of what marking every character would score.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from palu.errors import UserError
from palu.files import canonical_json, read_json, write_text
from palu.inert import spreadsheet_safe, visible
from palu.reporting.templates import render
from palu.settings import Count, NonNegativeNumber, Number, PositiveCount, Settings

UNITS = ("character", "word", "token", "span")
MEASURES = ("precision", "recall", "f1")
COUNTS = ("rows", "rows_without_gold", "rows_without_gold_marked", "rows_without_prediction")
COVERAGE = ("rows", "rows_without_span", "fallback_rows", "spans", "marked_characters", "characters", "seconds")
EVERYTHING = "every character"


class _Told(Settings):
    """A part of the index; further keys are none of the scorecard's business."""

    model_config = ConfigDict(extra="ignore")


class TaggerEntry(_Told):
    """A tagger under its name in the study, and where its coverage (facts) and its scores lie.

    settings: those that are not its defaults.
    """

    label: str
    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    of: list[str] = Field(default_factory=list)
    facts: str
    scores: str


class SetEntry(_Told):
    """The rows on which taggers were scored, or why they were not."""

    name: str
    benchmark: dict[str, Any] = Field(default_factory=dict)
    skipped: str | None = None
    taggers: list[TaggerEntry] = Field(default_factory=list)


class ScorecardIndex(_Told):
    """What the scorecard is told. Paths are relative to the working directory; gold: the tagger compared with."""

    study: str
    gold: str
    sets: list[SetEntry] = Field(min_length=1)


class Facts(_Told):
    """What `palu tag` counted."""

    rows: Count
    rows_without_span: Count
    fallback_rows: Count
    spans: Count
    marked_characters: Count
    characters: PositiveCount
    seconds: NonNegativeNumber


class Unit(_Told):
    """The agreement in one unit; None where a divisor was 0, or the total is not known."""

    precision: Number | None
    recall: Number | None
    f1: Number | None
    gold: Count
    total: Count | None


class Mistake(_Told):
    """A stretch that one side marks and the other does not, in its first place."""

    count: Count
    example_id: str
    before: str
    text: str
    after: str


class Scores(_Told):
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
        """What it combines and its settings, in short."""
        parts = [f"of {', '.join(self.entry.of)}"] if self.entry.of else []
        return ", ".join([*parts, *(f"{key}: {canonical_json(value)}" for key, value in self.entry.settings.items())])


@dataclass(frozen=True)
class ScoredSet:
    """The taggers of one set of rows, best F1 of characters first."""

    entry: SetEntry
    taggers: tuple[Scored, ...]

    @property
    def rows(self) -> Mapping[str, Any]:
        """How many rows were compared, and how many of them have no gold span: the same for every tagger."""
        return self.taggers[0].scores

    def everything(self) -> dict[str, dict[str, float]]:
        """What marking every character would score, per unit."""
        units = self.rows["units"]
        return {
            unit: {
                "precision": units[unit]["gold"] / units[unit]["total"],
                "recall": 1.0,
                "f1": 2 * units[unit]["gold"] / (units[unit]["total"] + units[unit]["gold"]),
            }
            for unit in UNITS
            if units.get(unit, {}).get("total")
        }


def write_scorecard(index: Mapping[str, Any], out_folder: Path) -> None:
    """Write taggers.html and taggers.csv into `out_folder`; the same index over the same files gives the same bytes.

    Raises UserError in one line for a key of the index or a file that is missing or broken.
    """
    told = ScorecardIndex.parse(index, "scorecard index")
    sets = [_read_set(entry) for entry in told.sets]
    for name, text in (("taggers.html", _page(told, sets)), ("taggers.csv", _spreadsheet(told, sets))):
        write_text(out_folder / name, text)


def _read_set(entry: SetEntry) -> ScoredSet:
    found = [Scored(each, _read(Facts, each.facts), _read(Scores, each.scores)) for each in entry.taggers]
    found.sort(key=lambda scored: -(scored.measure("character", "f1") or 0))
    if not found and entry.skipped is None:
        raise UserError(f"scorecard: {entry.name}: has no tagger besides the gold one; allowed: one or more")
    return ScoredSet(entry, tuple(found))


def _read(kind: type[Settings], path: str) -> Mapping[str, Any]:
    return kind.parse(read_json(Path(path)), path).model_dump()


def _page(told: ScorecardIndex, sets: list[ScoredSet]) -> str:
    return render(
        "scorecard.html.j2",
        {"share": _share},
        told=told,
        sets=sets,
        units=("character", "word", "span"),
        measures=MEASURES,
        everything=EVERYTHING,
    )


def _share(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _spreadsheet(told: ScorecardIndex, sets: list[ScoredSet]) -> str:
    """One row per set of rows and tagger. Numbers have all their digits; an empty cell was not measured."""
    measures = [f"{unit}_{measure}" for unit in UNITS for measure in MEASURES]
    head = ["study", "rows_of", "tagger", "kind", "settings", "of", "gold", *measures]
    counts = [*COUNTS, *(f"tagged_{key}" for key in COVERAGE), "seconds_per_1000_replies", "skipped"]
    lines: list[list[Any]] = [[*head, *counts]]
    for each in sets:
        if not each.taggers:
            lines.append([told.study, each.entry.name, *[None] * (len(lines[0]) - 3), each.entry.skipped])
        lines += [[told.study, each.entry.name, *_cells(scored, told.gold), None] for scored in each.taggers]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([spreadsheet_safe(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    return buffer.getvalue()


def _cells(scored: Scored, gold: str) -> Iterator[Any]:
    entry = scored.entry
    yield from (entry.label, entry.name, canonical_json(entry.settings), " ".join(entry.of), gold)
    yield from (scored.measure(unit, measure) for unit in UNITS for measure in MEASURES)
    yield from (scored.scores[key] for key in COUNTS)
    yield from (scored.facts[key] for key in COVERAGE)
    yield scored.seconds_per_thousand


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
