"""The tables of the page, cell by cell: rows are the original, the retain model and each arm over its seeds."""

from collections.abc import Sequence
from dataclasses import replace

from palu.ks import KsPoint
from palu.reporting.aims import P_VALUE, STATISTIC, Measure
from palu.reporting.cells import (
    Cell,
    Notes,
    Row,
    Table,
    few,
    number_text,
    p_text,
    percent_text,
    seeds_text,
    spread_cell,
)
from palu.reporting.checks import NOT_MEASURED
from palu.reporting.collect import Arm, Measured, Study
from palu.reporting.initiating import Initiating, TokenShares
from palu.reporting.metrics import Metric
from palu.reporting.quality import Qualities, Quality
from palu.reporting.statistics import spread
from palu.reporting.verdict import Verdict

Columns = tuple[list[tuple[str, str]], list[tuple[list[Cell], list[Cell]]]]


def reference_cell(measured: Measured, measure: Measure | None, notes: Notes) -> Cell:
    """What the original or the retain model has of a metric."""
    if measured.value is None:
        return notes.missing(measured.reason or "")
    write = percent_text if measure and measure.aim == "zero" else number_text
    return Cell(write(measured.value), title=f"{measured.value:.6g}")


def metric_cells(study: Study, metric: Metric, notes: Notes) -> tuple[list[Cell], list[Cell]]:
    """A metric's column: the cells of the references, and those of the arms."""
    references = [reference_cell(evaluation.measured(metric.name), None, notes) for _, evaluation in study.models]
    cells = []
    for arm in study.arms:
        lacking = arm.lacking(metric.name)
        values, _ = arm.measured(metric.name)
        cells.append(notes.missing(lacking) if lacking else spread_cell(spread(values)))
    return references, cells


def check_columns(study: Study, verdicts: Sequence[Verdict], measures: Sequence[Measure], notes: Notes) -> Columns:
    """A column for each measure: the arms' value, its interval, and its status."""
    columns, cells = [], []
    for measure in measures:
        references = [reference_cell(each.measured(measure.metric), measure, notes) for _, each in study.models]
        found = [verdict.of(measure.metric) for verdict in verdicts]
        aim = next((each.words for each in found if each and each.words), "")
        columns.append((measure.title, f"{measure.metric}; {aim}".removesuffix("; ")))
        cells.append((references, [_check_cell(verdict, measure, notes) for verdict in verdicts]))
    return columns, cells


def _check_cell(verdict: Verdict, measure: Measure, notes: Notes) -> Cell:
    its = verdict.of(measure.metric)
    if its is None or its.value is None:
        return notes.missing((its and its.reason) or "no reason was given")
    write = percent_text if measure.aim == "zero" else number_text
    if its.low is None or its.high is None:
        return Cell(write(its.value), NOT_MEASURED, (its.mark,), notes.number(its.reason or ""))
    detail = f"[{write(its.low)}, {write(its.high)}]\n{its.status}"
    return Cell(write(its.value), detail, (its.mark,), title=f"{its.value:.6g}: {its.words}")


def check_table(study: Study, verdicts: Sequence[Verdict], measures: Sequence[Measure], notes: Notes) -> Table | None:
    """The measures with their intervals and statuses; None without any."""
    return build_table(study, *check_columns(study, verdicts, measures, notes)) if measures else None


def build_table(
    study: Study, columns: Sequence[tuple[str, str]], cells: Sequence[tuple[list[Cell], list[Cell]]]
) -> Table:
    """Rows for the references and the arms, of columns that hold a cell for each."""
    rows = [
        Row(name, "reference", "", None, tuple(references[place] for references, _ in cells))
        for place, (name, _) in enumerate(study.models)
    ]
    for place, arm in enumerate(study.arms):
        own = tuple(arms[place] for _, arms in cells)
        rows.append(Row(arm.name, "arm", seeds_text(len(arm.runs)), place, own))
    return Table(tuple(columns), tuple(rows))


def metric_table(study: Study, metrics: Sequence[Metric], notes: Notes) -> Table | None:
    """A plain table of metrics; None without any."""
    columns = [(metric.title, metric.name) for metric in metrics]
    return build_table(study, columns, [metric_cells(study, m, notes) for m in metrics]) if metrics else None


def result_table(
    study: Study, quality: Qualities, verdicts: Sequence[Verdict], aimed: Initiating, notes: Notes
) -> Table:
    """The main table: the targets, forget quality with what it takes to read it, and what each arm costs."""
    columns, cells = check_columns(study, verdicts, study.aims.targets, notes)
    if quality.is_measured:
        own_columns, own_cells = quality_columns(study, quality, notes)
        columns, cells = columns + own_columns, cells + own_cells
    columns += [
        ("Seconds", "time of the optimiser steps, mean over seeds"),
        ("K / V", "vocabulary words that the loss touches, of all"),
        ("N", "tokens of each sensitive run that are aimed at; under it their share of all reply tokens"),
    ]
    empty = [Cell("") for _ in study.models]
    cells.append((empty, [_seconds_cell(arm) for arm in study.arms]))
    cells.append((empty, [_vocabulary_cell(arm, notes) for arm in study.arms]))
    cells.append((empty, [_first_n_cell(arm, aimed.of(study, arm)) for arm in study.arms]))
    return build_table(study, columns, cells)


def quality_columns(study: Study, quality: Qualities, notes: Notes) -> Columns:
    """Forget quality with what it takes to read it: p beside its neighbours, D with its spread, interval and ties."""
    best = quality.best() if len(study.arms) > 1 else []
    marks = dict.fromkeys(best, ("best",) if len(best) == 1 else ("tie",))
    names = [name for name, _ in study.models]
    p_values = [p_cell(quality.references[name], (), notes) for name in names]
    statistics = [statistic_cell(quality.references[name], (), notes) for name in names]
    own_p_values, own_statistics = [], []
    for arm in study.arms:
        its, own_marks = quality.arms[arm.name], marks.get(arm.name, ())
        own_p_values.append(p_cell(its, own_marks, notes))
        cell, tie = statistic_cell(its, own_marks, notes), quality.tie(arm.name)
        title = f"{cell.title}; tied with {few(quality.ties(arm.name))}" if tie else cell.title
        own_statistics.append(replace(cell, detail=f"{cell.detail}\n{tie}".strip(), title=title))
    columns = [
        ("Forget quality p", f"{P_VALUE}; median seed, its attainable neighbours one item away"),
        ("KS statistic D", f"{STATISTIC}; mean over seeds, 95% bootstrap interval over items and seeds; best: lowest"),
    ]
    return columns, [(p_values, own_p_values), (statistics, own_statistics)]


def p_cell(quality: Quality, marks: tuple[str, ...], notes: Notes) -> Cell:
    """The median seed's p-value between its attainable neighbours."""
    if quality.p_value is None:
        return notes.missing(quality.missing or "no reason was given")
    if quality.median is None:
        note = notes.number(quality.missing) if quality.missing else None
        return Cell(p_text(quality.p_value.median), "", marks, note)
    detail = f"▲ {_side(quality.median.smaller)}\n▼ {_side(quality.median.larger)}"
    seeds = quality.p_value
    if seeds.count > 1:
        detail += f"\nseeds {p_text(seeds.low)}\nto {p_text(seeds.high)}"
    title = f"median of {seeds_text(seeds.count)}" if seeds.count > 1 else ""
    return Cell(p_text(quality.median.here.p_value), detail, marks, title=title)


def _side(point: KsPoint | None) -> str:
    return p_text(point.p_value) if point else "none"


def statistic_cell(quality: Quality, marks: tuple[str, ...], notes: Notes) -> Cell:
    """The mean statistic, its spread over seeds and its interval over items."""
    if quality.statistic is None:
        return notes.missing(quality.missing or "no reason was given")
    cell = spread_cell(quality.statistic, marks)
    if quality.interval is None:
        return replace(cell, note=notes.number(quality.missing)) if quality.missing else cell
    low, high = quality.interval
    return replace(cell, detail=f"{cell.detail}\n[{low:.3f}, {high:.3f}]".strip())


def _seconds_cell(arm: Arm) -> Cell:
    time = spread([run.seconds for run in arm.runs])
    detail = f"±{time.deviation:.1f}" if time.deviation is not None else ""
    return Cell(f"{time.mean:.1f}", detail, title=f"{time.mean:.6g} s")


def vocabulary(arm: Arm) -> tuple[float | None, float | None]:
    """(K, V) of an arm: K as trained (clipped to V); None where nothing says so."""
    size, k = arm.first.number("vocabulary"), arm.first.number("top_k")
    wanted = arm.first.entry.settings.get("top_k")
    if k is None and isinstance(wanted, int):
        k = float(wanted) if size is None else min(float(wanted), size)
    return k, size


def initiating_share(arm: Arm, shares: TokenShares | None) -> float | None:
    """Which share of the forget set's reply tokens an arm aims at: as its run counted, or as the spans say."""
    aimed, total = arm.first.number("initiating_tokens"), arm.first.number("forget_reply_tokens")
    if aimed is not None and total:
        return aimed / total
    return shares.share if shares else None


def _vocabulary_cell(arm: Arm, notes: Notes) -> Cell:
    k, size = vocabulary(arm)
    if "top_k" not in arm.first.entry.settings:
        return Cell("n/a", marks=("faint",), title="the method has no K")
    if k is None:
        return notes.missing("neither the settings nor the run say K")
    if size is None:
        return Cell(f"{k:,.0f} / ?", note=notes.number("the run did not write the vocabulary's size"))
    return Cell(f"{k / size:.1%}", f"{k:,.0f} / {size:,.0f}", ("over",) if k >= size else ())


def _first_n_cell(arm: Arm, shares: TokenShares | None) -> Cell:
    settings = arm.first.entry.settings
    if "first_n" not in settings:
        return Cell("n/a", marks=("faint",), title="the method aims at whole replies")
    text = "whole span" if settings["first_n"] is None else str(settings["first_n"])
    share = initiating_share(arm, shares)
    return Cell(text, f"{share:.1%}" if share is not None else "")
