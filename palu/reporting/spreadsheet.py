"""results.csv: one row per model and run, every metric in a column; safe to open in a spreadsheet."""

import csv
import io
from typing import Any

from palu.files import canonical_json
from palu.inert import spreadsheet_safe
from palu.reporting.choice import Selection
from palu.reporting.collect import Arm, Evaluation, Run, Study
from palu.reporting.quality import Qualities, quality

HEAD = ("model", "method", "tagger", "seed", "varied", "recommended_on", "evaluation", "folder")
QUALITY = ("forget_quality_larger_neighbour", "forget_quality_smaller_neighbour", "statistic_low", "statistic_high")
# The same in every row of an arm: D's mean and sample deviation over seeds, the interval over items of that mean, one
# step of the scale, and the arms within it.
OVER_SEEDS = (
    "statistic_seed_mean", "statistic_seed_deviation", "statistic_mean_low", "statistic_mean_high", "statistic_step",
    "statistic_tied_with",
)  # fmt: skip


def results_csv(study: Study, qualities: Qualities, selection: Selection) -> str:
    """The whole file. Numbers have all their digits; an empty cell has its reason in the last column.

    `recommended_on` says by which items an arm was recommended, and is empty for all others.
    """
    evaluations = [*(evaluation for _, evaluation in study.models), *(run.evaluation for run in study.runs)]
    metrics = sorted({name for evaluation in evaluations for name in evaluation.summary})
    rows: list[list[Any]] = [[*HEAD, *metrics, *QUALITY, *OVER_SEEDS, "reasons"]]
    for name, evaluation in study.models:
        *numbers, reasons = _numbers(study, evaluation, metrics)
        rows.append([name, *[None] * 5, str(evaluation.folder), None, *numbers, *[None] * len(OVER_SEEDS), reasons])
    recommended = {choice.arm for choice in selection.choices}
    for arm in study.arms:
        items = selection.items if arm.name in recommended else None
        over_seeds = _over_seeds(arm, qualities)
        for run in arm.runs:
            *numbers, reasons = _numbers(study, run.evaluation, metrics)
            rows.append([arm.name, *_about(run, items), *numbers, *over_seeds, reasons])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([spreadsheet_safe(each) if isinstance(each, str) else each for each in row] for row in rows)
    return buffer.getvalue()


def _over_seeds(arm: Arm, qualities: Qualities) -> list[Any]:
    its = qualities.arms[arm.name]
    spread = [its.statistic.mean, its.statistic.deviation] if its.statistic else [None, None]
    interval = [its.interval.low, its.interval.high] if its.interval else [None, None]
    return [*spread, *interval, its.step, "; ".join(qualities.ties(arm.name)) or None]


def _about(run: Run, items: str | None) -> list[Any]:
    entry = run.entry
    varied = canonical_json(entry.varied) if entry.varied else None
    return [entry.method, entry.tagger, entry.seed, varied, items, entry.evaluation, entry.folder]


def _numbers(study: Study, evaluation: Evaluation, metrics: list[str]) -> list[Any]:
    found = [evaluation.measured(metric) for metric in metrics]
    reasons = {metric: each.reason for metric, each in zip(metrics, found, strict=True) if each.reason is not None}
    own = quality([evaluation], study.retain)
    neighbours = [own.median.larger, own.median.smaller] if own.median else [None, None]
    interval = [own.interval.low, own.interval.high] if own.interval else [None, None]
    told = canonical_json(reasons) if reasons else None
    return [*(each.value for each in found), *(point and point.p_value for point in neighbours), *interval, told]
