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

ARROWS = {"lower": " ↓", "higher": " ↑", "level": " ≈"}


def colours(study: Study) -> dict[str, str]:
    """Each arm's colour, by its name."""
    return {name: look.colour for name, look in looks(study.arms).items()}


def metric_of(name: str) -> Metric:
    """A metric of the table of metrics; a name that it does not have is its own title."""
    return METRICS.get(name) or Metric(name, "", name.replace("_", " "), "aggregates", "level")


def arms_table(study: Study, verdicts: Sequence[Judged]) -> Table:
    """What one needs to choose between arms: of each question the check that is farthest from being met."""
    questions = [("Leak", [each.gone for each in verdicts]), ("Language", [each.language for each in verdicts])]
    questions += [("Utility", [each.utility for each in verdicts])]
    quality = [tuple(each for each in verdict.shown if each.name == STATISTIC) for verdict in verdicts]
    questions += [("Forget quality", quality)] if any(quality) else []
    worst = [(title, [_worst(own) for own in groups]) for title, groups in questions]
    rows = []
    for name, evaluation in study.models:
        cells = []
        for _, checks in worst:
            shown = {each.name: each.metric.short for each in checks if each}
            texts = [metric_text(each, evaluation.measured(each).value) for each in shown]
            first, *others = map(" ".join, zip(texts, shown.values(), strict=True))
            cells.append(Cell(texts[0], "\n".join([first.partition(" ")[2], *others])))
        rows.append(Row(name, tuple(cells)))
    for place, verdict in enumerate(verdicts):
        cells = [_check_cell(checks[place]) for _, checks in worst]
        met = f"{verdict.met} of {counted(len(verdict.checks), 'target')}"
        rows.append(Row(verdict.arm.name, tuple(cells), met, colours(study)[verdict.arm.name]))
    return Table("Arms", "Model", tuple((title, "") for title, _ in questions), tuple(rows))


def _worst(checks: Sequence[Check]) -> Check | None:
    """The check that is farthest from being met: missed, then not measured, undecided, met."""
    order = [MISSED, NOT_MEASURED, UNDECIDED, MET]
    return min(checks, key=lambda each: order.index(each.status) if each.status in order else 0, default=None)


def _check_cell(its: Check | None) -> Cell:
    if its is None:
        return Cell("–")
    ends = "" if its.low is None or its.high is None else f"\n{its.low:.2f}–{its.high:.2f}"
    text = f"{metric_text(its.name, its.value)} {its.sign}".strip()
    return Cell(text, f"{its.metric.short}{ends}", its.mark, title=f"{its.title}: {its.status}, {its.sentence}")


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
