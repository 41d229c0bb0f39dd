"""How far each arm is from the retain model, on which side: memorization, and what membership attacks can tell."""

import math
from collections.abc import Callable

from palu.reporting.axes import LEVEL_TOLERANCE, PRIVLEAK_TOLERANCE
from palu.reporting.cells import Cell, Notes, Table, number_text, percent_text, signed_text
from palu.reporting.collect import TRUTH_RATIO, Arm, Evaluation, Measured, Study
from palu.reporting.metrics import ATTACKS, DISTANCES, PRIVLEAK, Metric
from palu.reporting.results import build_table, for_seeds, shown
from palu.reporting.statistics import Distance, Spread, spread, two_sided_distance
from palu.reporting.verdict import SIDES

FOLDED = "mean over the forget items of s / (1 + s), with s = the probability of wrong replies over the right one"
# The AUC of an attack that is never wrong. It tells which side is which, also where the original resists the attack.
ALWAYS_TOLD = 1.0
# The reference attack measures against the retain model, so a model at its level ties on every row. The retain
# model's own number is of another attack: its reference is the original.
NEVER_TOLD = {"mia_reference": 0.5}


def distance_table(study: Study, notes: Notes) -> Table | None:
    """Each arm's distance to the retain model, signed, with the side it falls on; None without a retain model.

    Where the retain model has no number of a metric, the cells of all others say so.
    """
    if study.retain is None:
        return None
    columns, cells = [], []
    for metric in shown(study, DISTANCES):
        retain, original = measured(study.retain, metric), measured(study.original, metric)
        references = [_gap(original, retain, notes), _gap(retain, retain, notes)]
        own = [_distance_cell(arm, metric, retain, _far_end(metric, original), notes) for arm in study.arms]
        level = f" minus the retain model's {retain.value:.4f}" if retain.value is not None else ""
        columns.append((metric.title, (FOLDED if metric.name == TRUTH_RATIO else metric.name) + level))
        cells.append((references, own))
    return build_table(study, columns, cells) if columns else None


def measured(evaluation: Evaluation, metric: Metric) -> Measured:
    """What a distance is taken of: the summary's number, or of truth ratios the mean over items of s / (1 + s).

    `forget_truth_ratio` is the mean of min(s, 1 / s), with s the probability of wrong replies over that of the right
    one, and falls on both sides: it cannot tell a model that still knows (s near 0) from one that avoids the truth.
    """
    told = evaluation.measured(metric.name)
    if metric.name != TRUTH_RATIO or told.value is None:
        return told
    ratios = list(evaluation.truth_ratios.values())
    if not ratios:
        return Measured(None, "its items have no truth ratio")
    return Measured(math.fsum(ratio / (1 + ratio) for ratio in ratios) / len(ratios))


def _far_end(metric: Metric, original: Measured) -> float | None:
    """The value of a model that forgot nothing, which tells under-forgotten from over-forgotten."""
    return ALWAYS_TOLD if metric.name.startswith("mia_") else original.value


def _without_goal(retain: Measured) -> str:
    return f"the retain model has none: {retain.reason}"


def _gap(of: Measured, retain: Measured, notes: Notes) -> Cell:
    if of.value is None:
        return notes.missing(of.reason or "")
    if retain.value is None:
        return notes.missing(_without_goal(retain))
    return Cell("0" if of is retain else signed_text(of.value - retain.value))


def _mean(arm: Arm, metric: Metric, notes: Notes) -> Spread | Cell:
    """An arm's spread over seeds, or the cell that says why it has none."""
    found = [measured(run.evaluation, metric) for run in arm.runs]
    values = [each.value for each in found if each.value is not None]
    reason = next((each.reason for each in found if each.value is None), None)
    return notes.missing(for_seeds(arm, values, reason)) if reason is not None else spread(values)


def _distance_cell(arm: Arm, metric: Metric, retain: Measured, far_end: float | None, notes: Notes) -> Cell:
    mean = _mean(arm, metric, notes)
    if isinstance(mean, Cell):
        return mean
    if retain.value is None:
        return notes.missing(_without_goal(retain))
    distance = two_sided_distance(mean.mean, retain.value, far_end, LEVEL_TOLERANCE)
    return Cell(signed_text(distance.difference), side_text(distance), (distance.side,))


def side_text(distance: Distance) -> str:
    """The side in a word, as it stands in a cell."""
    return {"level": "level", "apart": "apart"}.get(distance.side, SIDES[distance.side])


def attack_table(study: Study, notes: Notes) -> Table | None:
    """AUC of each membership attack, with the distance to the retain model's, and PrivLeak; None without any."""
    columns, cells = [], []
    for metric in shown(study, (*ATTACKS, PRIVLEAK)):
        own = [evaluation.measured(metric.name) for _, evaluation in study.models]
        if metric is PRIVLEAK:
            columns.append((metric.title, f"{metric.name}: 0 is the retain model's level"))
            references = [_reference(each, percent_text, notes) for each in own]
            cells.append((references, [_leak_cell(arm, notes) for arm in study.arms]))
        else:
            level = "0.5: its reference is the retain model" if metric.name in NEVER_TOLD else "the retain model's"
            columns.append((metric.title, f"{metric.name}: AUC; under it the distance to {level}"))
            references = [_reference(each, number_text, notes) for each in own]
            cells.append((references, [_auc_cell(study, arm, metric, notes) for arm in study.arms]))
    return build_table(study, columns, cells) if columns else None


def _auc_side(study: Study, metric: Metric, value: float) -> tuple[str, tuple[str, ...]]:
    """The distance to the retain model's AUC and its side in words, and the cell's mark."""
    retain = study.retain.measured(metric.name).value if study.retain else None
    if retain is None:
        return "", ()
    level = NEVER_TOLD.get(metric.name, retain)
    distance = two_sided_distance(value, level, ALWAYS_TOLD, LEVEL_TOLERANCE)
    return f"{signed_text(distance.difference)}\n{side_text(distance)}", (distance.side,)


def _reference(measured: Measured, write: Callable[[float], str], notes: Notes) -> Cell:
    if measured.value is None:
        return notes.missing(measured.reason or "")
    return Cell(write(measured.value), title=f"{measured.value:.6g}")


def _auc_cell(study: Study, arm: Arm, metric: Metric, notes: Notes) -> Cell:
    mean = _mean(arm, metric, notes)
    if isinstance(mean, Cell):
        return mean
    side, marks = _auc_side(study, metric, mean.mean)
    deviation = f"±{mean.deviation:.3f}" if mean.deviation is not None else ""
    detail = f"{deviation}\n{side}".strip()
    return Cell(number_text(mean.mean), detail, marks, title=f"{mean.mean:.6g}")


def _leak_cell(arm: Arm, notes: Notes) -> Cell:
    """PrivLeak with its side: below zero the forget rows still look like members."""
    mean = _mean(arm, PRIVLEAK, notes)
    if isinstance(mean, Cell):
        return mean
    side = "level" if abs(mean.mean) <= PRIVLEAK_TOLERANCE else "under" if mean.mean < 0 else "over"
    word = side_text(Distance(mean.mean, side))
    deviation = f"±{mean.deviation:.1f}" if mean.deviation is not None else ""
    return Cell(percent_text(mean.mean), f"{deviation}\n{word}".strip(), (side,), title=f"{mean.mean:.6g}")
