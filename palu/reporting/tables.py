"""The tables of the pages: rows are the original, the retain model and each arm over its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from palu.evaluation.metrics import METRICS, Metric
from palu.reporting.cells import Cell, Notes, Row, Table
from palu.reporting.checks import MET, MISSED, NOT_MEASURED, UNDECIDED, Check
from palu.reporting.drawing import looks
from palu.reporting.load import Arm, Study
from palu.reporting.numbers import counted, deviation, few, metric_text, number_text, p_text
from palu.reporting.quality import Quality, best
from palu.reporting.targets import P_VALUE, STATISTIC
from palu.reporting.verdict import Judged

# How far a status is from being met, the farthest first; what is no target counts as far
WORST_FIRST = {MISSED: 0, NOT_MEASURED: 1, UNDECIDED: 2, MET: 3}
ARROWS = {"lower": " ↓", "higher": " ↑", "level": " ≈"}


def colours(study: Study) -> dict[str, str]:
    """Each arm's colour, by its name."""
    return {name: look.colour for name, look in looks(study.arms).items()}


def metric_of(name: str) -> Metric:
    """A metric of the table of metrics; a name that it does not have is its own title."""
    return METRICS.get(name) or Metric(name, "", name.replace("_", " "), "aggregates", "level")


def arms_table(study: Study, verdicts: Sequence[Judged]) -> Table:
    """What one needs to choose between arms: of each question the target that is farthest from being met, with its
    interval, and by name where the question has several; and forget quality."""
    questions: dict[str, list[Sequence[Check]]] = {
        "Leak": [each.gone for each in verdicts],
        "Language": [each.language for each in verdicts],
        "Utility": [each.utility for each in verdicts],
    }
    if STATISTIC in study.measured:
        questions["Forget quality D"] = [
            tuple(each for each in verdict.shown if each.name == STATISTIC) for verdict in verdicts
        ]
    references: dict[str, list[Cell]] = {name: [] for name, _ in study.models}
    arms: list[list[Cell]] = [[] for _ in verdicts]
    for checks in questions.values():
        worst = [min(own, key=lambda each: WORST_FIRST.get(each.status, 0)) for own in checks]
        has_several = len(checks[0]) > 1
        names = {each.name: each.metric.short if has_several else "" for each in worst}
        for name, evaluation in study.models:
            first, *others = (metric_text(each, evaluation.measured(each).value) for each in names)
            short, *others_short = names.values()
            lines = [short, *(f"{text} {own}" for text, own in zip(others, others_short, strict=True))]
            references[name].append(Cell(first, "\n".join(filter(None, lines))))
        for cells, each in zip(arms, worst, strict=True):
            ends = "" if each.low is None or each.high is None else f"{each.low:.2f}–{each.high:.2f}"
            lines = [names[each.name], ends]
            text = f"{metric_text(each.name, each.value)} {each.sign or each.mark}"
            title = f"{each.title}: {each.status}, {each.sentence}"
            cells.append(Cell(text, "\n".join(filter(None, lines)), each.mark, title=title))
    rows = [Row(name, tuple(cells)) for name, cells in references.items()]
    for verdict, cells in zip(verdicts, arms, strict=True):
        met = f"{verdict.met} of {counted(len(verdict.checks), 'target')}"
        rows.append(Row(verdict.arm.name, tuple(cells), met, colours(study)[verdict.arm.name]))
    return Table("Arms", "Model", tuple((title, "") for title in questions), tuple(rows))


def metric_table(
    study: Study,
    verdicts: Sequence[Judged],
    quality: Mapping[str, Quality],
    names: Sequence[str],
    notes: Notes,
    label: str,
) -> Table | None:
    """A column for each metric, with interval and status where it is judged; None without any metric."""
    metrics = [metric_of(name) for name in names]
    aims = [next((its.words for each in verdicts if (its := each.of(name)) and its.words), "") for name in names]
    columns = [
        (metric.title + ARROWS[metric.better], f"{metric.name}; {aim}".removesuffix("; "))
        for metric, aim in zip(metrics, aims, strict=True)
    ]
    rows = []
    for name, evaluation in study.models:
        rows.append(Row(name, tuple(_reference_cell(each, *evaluation.measured(each), notes) for each in names)))
    for verdict in verdicts:
        own = [_metric_cell(verdict, quality, name, notes) for name in names]
        about = counted(len(verdict.arm.runs), "seed"), colours(study)[verdict.arm.name]
        rows.append(Row(verdict.arm.name, tuple(own), *about))
    return Table(label, "Model", tuple(columns), tuple(rows)) if names else None


def _reference_cell(name: str, value: float | None, reason: str | None, notes: Notes) -> Cell:
    return notes.missing(reason) if value is None else Cell(metric_text(name, value), title=f"{value:.6g}")


def _metric_cell(verdict: Judged, quality: Mapping[str, Quality], name: str, notes: Notes) -> Cell:
    """The mean over seeds, and under it the interval and the status of a metric that is judged, or ± the deviation."""
    its, arm = verdict.of(name), verdict.arm
    if lacking := arm.lacking(name):
        return notes.missing(lacking)
    if name == P_VALUE:
        return _p_cell(quality[arm.name], notes)
    values, _ = arm.measured(name)
    mean, spread = sum(values) / len(values), deviation(values)
    cell = Cell(metric_text(name, mean), f"± {number_text(spread)}" if spread is not None else "", title=f"{mean:.6g}")
    if its is not None and its.interval is None:
        cell = replace(cell, detail=NOT_MEASURED, mark=its.mark, note=notes.number(its.reason or ""))
    elif its is not None:
        cell = replace(cell, detail=f"{its.interval}\n{its.status}", mark=its.mark, title=f"{mean:.6g}: {its.words}")
    tied = quality[arm.name].tied
    if name == STATISTIC and tied:
        lowest = "lowest, " if arm.name in best(quality) else ""
        others = f"tied with {few(tied)}"
        cell = replace(cell, detail=f"{cell.detail}\n{lowest}tied with {len(tied)}", title=f"{cell.title}; {others}")
    return cell


def _p_cell(its: Quality, notes: Notes) -> Cell:
    """The median seed's p-value between its attainable neighbours."""
    if its.median is None:
        return Cell(p_text(sorted(its.p_values)[(len(its.p_values) - 1) // 2]), note=notes.number(its.missing or ""))
    smaller, larger = (p_text(point.p_value) if point else "none" for point in (its.median.smaller, its.median.larger))
    return Cell(p_text(its.median.here.p_value), f"▲ {smaller}\n▼ {larger}", title="median seed; one item away")


def settings_table(study: Study, notes: Notes) -> Table:
    """What each arm was trained with: the settings that the grid varied, N, K of V, and how long its steps took."""
    keys = list(dict.fromkeys(key for arm in study.arms for key in arm.varied))
    columns = [(key, "") for key in keys]
    columns += [
        ("N", "tokens of each sensitive run that are aimed at; under it their share of all reply tokens"),
        ("K / V", "vocabulary words that the loss touches, of all"),
        ("Seconds", "time of the optimiser steps, mean over seeds"),
    ]
    rows = []
    for arm in study.arms:
        varied = [Cell(_plain(arm.varied[key]) if key in arm.varied else "") for key in keys]
        seconds = [run.seconds for run in arm.runs]
        time = Cell(f"{sum(seconds) / len(seconds):.1f}")
        cells = (*varied, _first_n_cell(arm), _vocabulary_cell(arm, notes), time)
        rows.append(Row(arm.name, cells, arm.method, colours(study)[arm.name]))
    return Table("Settings", "Setting", tuple(columns), tuple(rows))


def _plain(value: object) -> str:
    return "none" if value is None else str(value)


def vocabulary(arm: Arm) -> tuple[float | None, float | None]:
    """(K, V) of an arm: K as trained (clipped to V); None where nothing says so."""
    size, k = arm.first.number("vocabulary"), arm.first.number("top_k")
    wanted = arm.first.entry.settings.get("top_k")
    if k is None and isinstance(wanted, int):
        k = float(wanted) if size is None else min(float(wanted), size)
    return k, size


def _vocabulary_cell(arm: Arm, notes: Notes) -> Cell:
    k, size = vocabulary(arm)
    if "top_k" not in arm.first.entry.settings:
        return Cell("n/a", title="the method has no K")
    if k is None:
        return notes.missing("neither the settings nor the run say K")
    if size is None:
        return Cell(f"{k:,.0f} / ?", note=notes.number("the run did not write the vocabulary's size"))
    return Cell(f"{k / size:.1%}", f"{k:,.0f} / {size:,.0f}", "over" if k >= size else "")


def _first_n_cell(arm: Arm) -> Cell:
    settings = arm.first.entry.settings
    if "first_n" not in settings:
        return Cell("n/a", title="the method aims at whole replies")
    text = "whole span" if settings["first_n"] is None else str(settings["first_n"])
    aimed, total = arm.first.number("initiating_tokens"), arm.first.number("forget_reply_tokens")
    return Cell(text, f"{aimed / total:.1%}" if aimed is not None and total else "")
