"""The tables of the page, cell by cell: rows are the original, the retain model and each arm over its seeds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from palu.reporting.cells import Cell, Notes, Row, Table, number_text, p_text, seeds_text, signed_text, spread_cell
from palu.reporting.collect import Arm, Evaluation, Study
from palu.reporting.initiating import Floor, Initiating
from palu.reporting.quality import P_VALUE, STATISTIC, Qualities, Quality
from palu.reporting.statistics import KsPoint, spread, two_sided_distance
from palu.reporting.verdict import LEVEL_TOLERANCE, SIDES


@dataclass(frozen=True)
class Metric:
    """A metric's name, its heading, and what counts as best: `retain` (nearest to it), `high`, `low` or `none`."""

    name: str
    title: str
    goal: str


RESULTS = (
    Metric("model_utility", "Model utility", "high"),
    Metric("forget_initiating_probability", "Initiating-token probability", "retain"),
    Metric("forget_rouge", "Forget ROUGE", "retain"),
    Metric("forget_probability", "Forget probability, whole reply", "retain"),
    Metric("extraction_strength", "Extraction strength", "retain"),
    Metric("exact_memorization", "Exact memorization", "retain"),
    Metric("forget_truth_ratio", "Forget truth ratio", "retain"),
    Metric("verbatim_memorization", "Verbatim memorization", "retain"),
    Metric("knowledge_memorization_forget", "Knowledge of forget set", "retain"),
    Metric("knowledge_memorization_retain", "Knowledge of retain set", "high"),
)
DISTANCES = (
    *(metric for metric in RESULTS if metric.goal == "retain"),
    Metric("mia_min_k", "Min-K attack", "retain"),
)
COMPONENTS = tuple(
    Metric(f"{part}_{kind}", f"{title} {kind_title}", "high")
    for part, title in (("retain", "Retain"), ("real_authors", "Real authors"), ("world_facts", "World facts"))
    for kind, kind_title in (("probability", "probability"), ("rouge", "ROUGE"), ("truth_ratio", "truth ratio"))
)


def present(study: Study, metrics: Iterable[Metric]) -> list[Metric]:
    """Those metrics that some evaluation of the study speaks of, be it with a reason."""
    evaluations = [study.original, *([study.retain] if study.retain else []), *(run.evaluation for run in study.runs)]
    known = {name for evaluation in evaluations for name in (*evaluation.summary, *evaluation.reasons)}
    return [metric for metric in metrics if metric.name in known]


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
            cells.append(notes.missing(_for_seeds(arm, values, reason)))
        else:
            cells.append(spread_cell(spread(values), ("best",) if arm.name in best else ()))
    return references, cells


def _for_seeds(arm: Arm, values: Sequence[float], reason: str) -> str:
    missing = len(arm.runs) - len(values)
    return reason if missing == len(arm.runs) else f"{missing} of {len(arm.runs)} seeds have none: {reason}"


def _table(study: Study, columns: Sequence[tuple[str, str]], cells: Sequence[tuple[list[Cell], list[Cell]]]) -> Table:
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
    return _table(study, [_explained(metric) for metric in metrics], [metric_cells(study, m, notes) for m in metrics])


def result_table(study: Study, quality: Qualities, aimed: Initiating, notes: Notes) -> Table:
    """The main table: forget quality with what it takes to read it, the metrics, and what each arm costs."""
    columns: list[tuple[str, str]] = []
    cells: list[tuple[list[Cell], list[Cell]]] = []
    if present(study, [Metric(STATISTIC, "", "low"), Metric(P_VALUE, "", "high")]):
        best = quality.best() if len(study.arms) > 1 else []
        marks = dict.fromkeys(best, ("best",) if len(best) == 1 else ("tie",))
        columns += [
            ("Forget quality p", f"{P_VALUE}; median seed, its attainable neighbours one step away"),
            ("KS statistic D", f"{STATISTIC}; mean over seeds, 95% bootstrap interval over items; best: lowest"),
        ]
        names = [name for name, _ in study.models]
        for make in (p_cell, statistic_cell):
            references = [make(quality.references[name], (), notes) for name in names]
            cells.append((references, [make(quality.arms[a.name], marks.get(a.name, ()), notes) for a in study.arms]))
    for metric in present(study, RESULTS):
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
    return _table(study, columns, cells)


def p_cell(quality: Quality, marks: tuple[str, ...], notes: Notes) -> Cell:
    """The median seed's p-value between its attainable neighbours."""
    if quality.p_value is None:
        return notes.missing(quality.missing or "no reason was given")
    if quality.median is None:
        note = notes.number(quality.missing) if quality.missing else None
        return Cell(p_text(quality.p_value.median), "", marks, note)
    detail = f"▲ {_side(quality.median.smaller)}\n▼ {_side(quality.median.larger)}"
    seeds = quality.p_value
    title = f"median of {seeds.count} seeds, {p_text(seeds.low)} to {p_text(seeds.high)}" if seeds.count > 1 else ""
    return Cell(p_text(quality.median.here.p_value), detail, marks, title=title)


def _side(point: KsPoint | None) -> str:
    return p_text(point.p_value) if point else "none"


def statistic_cell(quality: Quality, marks: tuple[str, ...], notes: Notes) -> Cell:
    """The mean statistic, its spread over seeds and its interval over items."""
    if quality.statistic is None:
        return notes.missing(quality.missing or "no reason was given")
    cell = spread_cell(quality.statistic, marks)
    if quality.interval is None:
        return cell
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
    """Which share of the forget set's reply tokens an arm aims at: as its run counted, or else as the floor does."""
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
    """The cell with the floor that N implies beside it, where the metric has one."""
    value = (
        {"forget_probability": floor.probability, "extraction_strength": floor.extraction}.get(metric)
        if floor
        else None
    )
    return replace(cell, detail=f"{cell.detail}\nfloor {value:.3f}".strip()) if value is not None else cell


def _first_n_cell(arm: Arm, floor: Floor | None) -> Cell:
    settings = arm.first.entry.settings
    if "first_n" not in settings:
        return Cell("n/a", marks=("faint",), title="the method aims at whole replies")
    text = "whole span" if settings["first_n"] is None else str(settings["first_n"])
    share = initiating_share(arm, floor)
    return Cell(text, f"{share:.1%}" if share is not None else "")


def distance_table(study: Study, notes: Notes) -> Table | None:
    """Each arm's distance to the retain model, signed, with the side it falls on; None without a retain model."""
    if study.retain is None:
        return None
    columns, cells = [], []
    for metric in present(study, DISTANCES):
        retain = study.retain.measured(metric.name)
        if retain.value is None:
            continue
        original = study.original.measured(metric.name)
        if original.value is None:
            references = [notes.missing(original.reason or ""), Cell("0")]
        else:
            references = [Cell(signed_text(original.value - retain.value)), Cell("0")]
        arms = [arm.measured(metric.name) for arm in study.arms]
        own = [_distance_cell(values, retain.value, original.value, reason, notes) for values, reason in arms]
        columns.append((metric.title, f"{metric.name} minus the retain model's {retain.value:.4f}"))
        cells.append((references, own))
    return _table(study, columns, cells) if columns else None


def _distance_cell(
    values: Sequence[float], retain: float, original: float | None, reason: str | None, notes: Notes
) -> Cell:
    if reason is not None or not values:
        return notes.missing(reason or "no value")
    distance = two_sided_distance(spread(values).mean, retain, original, LEVEL_TOLERANCE)
    detail = {"level": "level", "apart": "apart"}.get(distance.side, SIDES[distance.side])
    return Cell(signed_text(distance.difference), detail, (distance.side,))


def further_metrics(study: Study) -> list[Metric]:
    """What the summaries hold beyond the other tables, by name."""
    shown = {metric.name for metric in (*RESULTS, *COMPONENTS)} | {STATISTIC, P_VALUE}
    evaluations: list[Evaluation] = [evaluation for _, evaluation in study.models]
    evaluations += [run.evaluation for run in study.runs]
    names = {name for evaluation in evaluations for name in evaluation.summary} - shown
    return [Metric(name, name.replace("_", " "), "none") for name in sorted(names)]
