"""What the report reads: the evaluation and run folders that the index names.

Nothing is computed here. A number that is not there stays `None` with the reason that its writer gave.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from palu import tables
from palu.errors import UserError
from palu.files import canonical_json, read_json
from palu.reporting.index import Index, RunEntry
from palu.reporting.targets import FORGET, Targets, targets_of
from palu.reporting.texts import Item, asked, choose_items, choose_questions, items_of, questions
from palu.span_tables import read_spans

# Questions that the page shows with their answers
SHOWN_QUESTIONS = 6


class Measured(NamedTuple):
    """A number, or the reason why there is none."""

    value: float | None
    reason: str | None = None


def _mapping(path: Path, what: str) -> dict[str, Any]:
    """A JSON file that holds a mapping."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: is not a mapping{what}")
    return values


@dataclass(frozen=True)
class Evaluation:
    """One evaluation folder; the tables are read when they are asked for."""

    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        values = _mapping(self.folder / "summary.json", " of metric names to numbers")
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise UserError(f"{self.folder / 'summary.json'}: {name}: {value!r} is neither a number nor null")
        return values

    @cached_property
    def reasons(self) -> dict[str, str]:
        path = self.folder / "reasons.json"
        values = _mapping(path, " of metric names to reasons") if path.exists() else {}
        return {str(name): str(reason) for name, reason in values.items()}

    def measured(self, metric: str) -> Measured:
        """A metric of the summary; one that the summary does not have differs from one with a reason."""
        if metric not in self.summary:
            return Measured(None, self.reasons.get(metric, "not among this evaluation's metrics"))
        value = self.summary[metric]
        if value is None:
            return Measured(None, self.reasons.get(metric, "no reason was given"))
        if not math.isfinite(value):
            return Measured(None, f"the evaluation wrote {value}")
        return Measured(float(value))

    def items(self, metrics: Collection[str]) -> Iterator[tuple[str, list[str], npt.NDArray[np.float64]]]:
        """(metric, example ids, values) of the items that have one, for those of `metrics` that the scores hold."""
        scores = tables.read(self.folder / "scores.parquet", "scores")
        wanted = pc.is_in(scores["metric"], value_set=pa.array(sorted(metrics), pa.string()))
        scores = scores.filter(pc.and_(wanted, pc.is_finite(pc.fill_null(scores["value"], math.nan))))
        for metric in pc.unique(scores["metric"]).to_pylist():
            own = scores.filter(pc.equal(scores["metric"], metric))
            yield metric, own["example_id"].to_pylist(), own["value"].to_numpy()

    @cached_property
    def generations(self) -> dict[str, str]:
        """example_id -> what the model wrote."""
        rows = tables.rows(self.folder / "generations.parquet", "generations")
        return {row["example_id"]: row["generation"] for row in rows}


@dataclass(frozen=True)
class Run:
    """One unlearned model: what the index says, its final evaluation, what its training wrote down."""

    entry: RunEntry
    evaluation: Evaluation
    trajectory: tuple[tuple[float, Evaluation], ...]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """run.json; empty where a run has none."""
        path = Path(self.entry.folder) / "run.json"
        return _mapping(path, "") if path.exists() else {}

    def number(self, name: str) -> float | None:
        """What run.json says under `name`, where that is a finite number."""
        value = self.facts.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The step log: one row per optimiser step and loss term. It is read again each time: a study has hundreds."""
        return tables.rows(Path(self.entry.folder) / "steps.parquet", "steps")

    @cached_property
    def seconds(self) -> float:
        """How long the optimiser steps took."""
        return math.fsum({row["step"]: row["seconds"] for row in self.steps}.values())


@dataclass(frozen=True)
class Arm:
    """One method with one choice of settings, over its seeds: a row of the report."""

    name: str
    label: str
    method: str
    tagger: str | None
    varied: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    def measured(self, metric: str) -> tuple[list[float], str | None]:
        """The seeds' values, and the first reason where some seed has none."""
        found = [run.evaluation.measured(metric) for run in self.runs]
        values = [each.value for each in found if each.value is not None]
        return values, next((each.reason for each in found if each.value is None), None)

    def lacking(self, metric: str) -> str | None:
        """Why the arm has no mean: the first reason, and how many seeds have none where not all; None where it has."""
        values, reason = self.measured(metric)
        missing = len(self.runs) - len(values)
        return reason if missing in (0, len(self.runs)) else f"{missing} of {len(self.runs)} seeds have none: {reason}"


@dataclass(frozen=True)
class Study:
    """All that a report is about. items: the rows to be forgotten. questions: those whose answers are shown, the same
    where these have prompts. neighbours: the questions to be kept. first: heading -> the first questions of the page.
    shown: the same for the terminal. validation_rows: how many rows are forgotten without being reported."""

    index: Index
    original: Evaluation
    retain: Evaluation | None
    arms: tuple[Arm, ...]
    items: tuple[Item, ...] = field(repr=False)
    questions: tuple[Item, ...] = field(repr=False)
    neighbours: tuple[Item, ...] = field(default=(), repr=False)
    first: Mapping[str, list[Item]] = field(default_factory=dict, repr=False)
    shown: Mapping[str, list[Item]] = field(default_factory=dict, repr=False)
    validation_rows: int = 0

    @property
    def runs(self) -> Iterator[Run]:
        return (run for arm in self.arms for run in arm.runs)

    @property
    def models(self) -> Iterator[tuple[str, Evaluation]]:
        """The references, by name: the original and, where there is one, the retain model."""
        yield "original", self.original
        if self.retain is not None:
            yield "retain model", self.retain

    @property
    def evaluations(self) -> list[Evaluation]:
        """Of the references and of every run."""
        return [*(evaluation for _, evaluation in self.models), *(run.evaluation for run in self.runs)]

    @cached_property
    def metrics(self) -> frozenset[str]:
        """Every metric that some evaluation has, be it with a reason."""
        return frozenset(name for each in self.evaluations for name in (*each.summary, *each.reasons))

    @cached_property
    def measured(self) -> frozenset[str]:
        """Every metric that some evaluation has a number of."""
        pairs = ((each, name) for each in self.evaluations for name in each.summary)
        return frozenset(name for each, name in pairs if each.measured(name).value is not None)

    @cached_property
    def targets(self) -> Targets:
        """What the study is judged by."""
        return targets_of(self.measured.__contains__, not any(item.prompt for item in self.items))


def collect(index: dict[str, Any], place: str = "index") -> Study:
    """Read what `index` names; `place` names it in errors. Raises UserError for a key or file that is missing."""
    parsed = Index.parse(index, place)
    if parsed.display_tagger is not None and parsed.display_tagger not in parsed.spans:
        known = ", ".join(sorted(parsed.spans)) or "none"
        raise UserError(f"{place}: display_tagger: no spans of {parsed.display_tagger!r}; allowed: {known}")
    examples = tables.read(Path(parsed.examples), "examples")
    marked, gold = (_spans(path) for path in (parsed.spans.get(parsed.display_tagger or ""), parsed.gold))
    items = tuple(items_of(examples, FORGET, marked))
    all_questions = questions(items, examples)
    first = choose_questions(examples, parsed.questions or SHOWN_QUESTIONS, {**gold, **marked})
    return Study(
        index=parsed,
        original=Evaluation(Path(parsed.original.evaluation)),
        retain=Evaluation(Path(parsed.retain.evaluation)) if parsed.retain else None,
        arms=tuple(_arms([_run(entry) for entry in parsed.runs])),
        items=items,
        questions=all_questions,
        neighbours=tuple(item for part in tables.NEIGHBOUR_PARTS for item in items_of(examples, part, gold)),
        first=first if any(first.values()) else {"": choose_items(all_questions, SHOWN_QUESTIONS)},
        shown=first if parsed.questions else {},
        validation_rows=asked(examples, tables.VALIDATION).num_rows,
    )


def _run(entry: RunEntry) -> Run:
    shots = sorted(entry.trajectory, key=lambda shot: shot.epoch)
    trajectory = tuple((float(shot.epoch), Evaluation(Path(shot.evaluation))) for shot in shots)
    return Run(entry, Evaluation(Path(entry.evaluation)), trajectory)


def _arms(runs: list[Run]) -> Iterator[Arm]:
    """Runs that differ in nothing but the seed, in the index's order; an arm's name says what sets it apart."""
    grouped: dict[str, list[Run]] = {}
    taggers: dict[str, set[str | None]] = {}
    for run in runs:
        entry = run.entry
        same = [entry.label, entry.method, entry.tagger, entry.varied, entry.settings, entry.training]
        grouped.setdefault(canonical_json(same), []).append(run)
        taggers.setdefault(entry.label, set()).add(entry.tagger)
    names: dict[str, int] = {}
    for group in grouped.values():
        entry = group[0].entry
        varied = dict(entry.varied)
        if len(taggers[entry.label]) > 1:
            varied.setdefault("tagger", entry.tagger)
        parts = [
            f"{key}={value if isinstance(value, str) else canonical_json(value)}" for key, value in varied.items()
        ]
        name = ", ".join([entry.label, *parts])
        names[name] = names.get(name, 0) + 1
        name = name if names[name] == 1 else f"{name} ({names[name]})"
        ordered = tuple(sorted(group, key=lambda run: run.entry.seed))
        yield Arm(name, entry.label, entry.method, entry.tagger, varied, ordered)


def _spans(path: str | None) -> Mapping[str, list[tuple[int, int]]]:
    """example_id -> its spans in a table, if there is one."""
    return {} if path is None else read_spans(Path(path))


class Unmeasured(NamedTuple):
    """One reason, the metrics that it left without a number, and of which models."""

    reason: str
    metrics: tuple[str, ...]
    models: tuple[str, ...]


def unmeasured(models: Iterable[tuple[str, Evaluation]]) -> list[Unmeasured]:
    """The metrics of these models without a number; the same reason of the same models once, with all its metrics."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for name, evaluation in models:
        for metric in {*evaluation.summary, *evaluation.reasons}:
            found = evaluation.measured(metric)
            if found.value is None:
                lacking.setdefault((metric, found.reason or ""), []).append(name)
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (metric, reason), names in sorted(lacking.items()):
        grouped.setdefault((reason, tuple(names)), []).append(metric)
    reasons = [Unmeasured(reason, tuple(metrics), names) for (reason, names), metrics in grouped.items()]
    return sorted(reasons, key=lambda each: (-len(each.metrics), each.reason))
