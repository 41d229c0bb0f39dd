"""The tables of the page, cell by cell: rows are the original, the retain model and each arm over its seeds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from palu.ks import KsPoint
from palu.reporting.cells import Cell, Notes, Row, Table, few, number_text, p_text, seeds_text, spread_cell
from palu.reporting.collect import Arm, Study
from palu.reporting.initiating import Floor, Initiating
from palu.reporting.metrics import RESULTS, Metric
from palu.reporting.quality import P_VALUE, STATISTIC, Qualities, Quality
from palu.reporting.statistics import spread


def shown(study: Study, metrics: Iterable[Metric]) -> list[Metric]:
    """Those metrics that some model of the study has a number of; a column of reasons alone is told elsewhere."""
    return [metric for metric in metrics if metric.name in study.measured]


def has_quality(study: Study) -> bool:
    """Whether some model has forget quality."""
    return bool(study.measured & {P_VALUE, STATISTIC})


GOALS = {"level": "retain", "low": "low", "zero": "none", "keep": "high"}


def main_metrics(study: Study) -> list[Metric]:
    """The columns of the main table: those that the page knows, and what the study is judged by beyond them."""
    known = {metric.name for metric in RESULTS}
    own = [
        Metric(each.metric, each.title, GOALS[each.aim]) for each in study.axes.measures if each.metric not in known
    ]
    return shown(study, (*RESULTS, *own))


def best_arms(study: Study, metric: Metric) -> set[str]:
    """The arms whose mean is best; none where only one arm competes."""
    means = {}
    for arm in study.arms:
        values, reason = arm.measured(metric.name)
        if reason is None:
            means[arm.name] = spread(values).mean
    if len(study.arms) < 2 or not means or metric.goal == "none":
        return set()
    retain = study.retain.measured(metric.name).value if study.retain else None
    if metric.goal == "retain" and retain is None:
        return set()
    cost: Callable[[float], float] = {
        "high": lambda value: -value,
        "low": lambda value: value,
        "retain": lambda value: abs(value - (retain or 0.0)),
    }[metric.goal]
    lowest = min(cost(value) for value in means.values())
    return {name for name, value in means.items() if cost(value) <= lowest + 1e-9}


def metric_cells(study: Study, metric: Metric, notes: Notes) -> tuple[list[Cell], list[Cell]]:
    """A metric's column: the cells of the references, and those of the arms."""
    references = []
    for _, evaluation in study.models:
        measured = evaluation.measured(metric.name)
        if measured.value is None:
            references.append(notes.missing(measured.reason or ""))
        else:
            references.append(Cell(number_text(measured.value), title=f"{measured.value:.6g}"))
    best = best_arms(study, metric)
    cells = []
    for arm in study.arms:
        values, reason = arm.measured(metric.name)
        if reason is not None:
            cells.append(notes.missing(for_seeds(arm, values, reason)))
        else:
            cells.append(spread_cell(spread(values), ("best",) if arm.name in best else ()))
    return references, cells


def for_seeds(arm: Arm, values: Sequence[float], reason: str) -> str:
    """Why an arm has no mean: the reason, and how many of its seeds it concerns where not all."""
    missing = len(arm.runs) - len(values)
    return reason if missing == len(arm.runs) else f"{missing} of {len(arm.runs)} seeds have none: {reason}"


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


def _explained(metric: Metric) -> tuple[str, str]:
    goals = {"retain": "; best: nearest to the retain model", "high": "; best: highest", "low": "; best: lowest"}
    return metric.title, metric.name + goals.get(metric.goal, "")


def metric_table(study: Study, metrics: Sequence[Metric], notes: Notes) -> Table:
    """A plain table of metrics."""
    return build_table(
        study, [_explained(metric) for metric in metrics], [metric_cells(study, m, notes) for m in metrics]
    )


def result_table(study: Study, quality: Qualities, aimed: Initiating, notes: Notes) -> Table:
    """The main table: forget quality with what it takes to read it, the metrics, and what each arm costs."""
    columns, cells = quality_columns(study, quality, notes) if has_quality(study) else ([], [])
    for metric in main_metrics(study):
        columns.append(_explained(metric))
        references, arms = metric_cells(study, metric, notes)
        floors = [
            _with_floor(cell, aimed.of(study, arm), metric.name) for cell, arm in zip(arms, study.arms, strict=True)
        ]
        cells.append((references, floors))
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


Columns = tuple[list[tuple[str, str]], list[tuple[list[Cell], list[Cell]]]]


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
        title = f"{cell.title}; within one step: {few(quality.ties(arm.name))}" if tie else cell.title
        own_statistics.append(replace(cell, detail=f"{cell.detail}\n{tie}".strip(), title=title))
    columns = [
        ("Forget quality p", f"{P_VALUE}; median seed, its attainable neighbours one step away"),
        ("KS statistic D", f"{STATISTIC}; mean over seeds, 95% bootstrap interval over items; best: lowest"),
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
    interval = f"[{quality.interval.low:.3f}, {quality.interval.high:.3f}]"
    detail = f"{cell.detail}\n{interval}".strip()
    return Cell(cell.text, detail, marks, title=f"step {quality.step:.4g}")


def _seconds_cell(arm: Arm) -> Cell:
    time = spread([run.seconds for run in arm.runs])
    detail = f"±{time.deviation:.1f}" if time.deviation is not None else ""
    return Cell(f"{time.mean:.1f}", detail, title=f"{time.mean:.6g} s")


def vocabulary(arm: Arm) -> tuple[float | None, float | None]:
    """(K, V) of an arm: K as trained (clipped to V); None where nobody says."""
    size, k = arm.first.number("vocabulary"), arm.first.number("top_k")
    wanted = arm.first.entry.settings.get("top_k")
    if k is None and isinstance(wanted, int):
        k = float(wanted) if size is None else min(float(wanted), size)
    return k, size


def initiating_share(arm: Arm, floor: Floor | None) -> float | None:
    """Which share of the forget set's reply tokens an arm aims at: as its run counted, or the original's tokens."""
    aimed, total = arm.first.number("initiating_tokens"), arm.first.number("forget_reply_tokens")
    if aimed is not None and total:
        return aimed / total
    return floor.share if floor else None


def _vocabulary_cell(arm: Arm, notes: Notes) -> Cell:
    k, size = vocabulary(arm)
    if "top_k" not in arm.first.entry.settings:
        return Cell("n/a", marks=("faint",), title="the method has no K")
    if k is None:
        return notes.missing("neither the settings nor the run say K")
    if size is None:
        return Cell(f"{k:,.0f} / ?", note=notes.number("the run did not write the vocabulary's size"))
    return Cell(f"{k / size:.1%}", f"{k:,.0f} / {size:,.0f}", ("over",) if k >= size else ())


def _with_floor(cell: Cell, floor: Floor | None, metric: str) -> Cell:
    """The cell with what a perfectly local method would leave of the metric, where that is known."""
    value = (
        {"forget_probability": floor.probability, "extraction_strength": floor.extraction}.get(metric)
        if floor
        else None
    )
    return replace(cell, detail=f"{cell.detail}\nperfectly local {value:.3f}".strip()) if value is not None else cell


def _first_n_cell(arm: Arm, floor: Floor | None) -> Cell:
    settings = arm.first.entry.settings
    if "first_n" not in settings:
        return Cell("n/a", marks=("faint",), title="the method aims at whole replies")
    text = "whole span" if settings["first_n"] is None else str(settings["first_n"])
    share = initiating_share(arm, floor)
    return Cell(text, f"{share:.1%}" if share is not None else "")
