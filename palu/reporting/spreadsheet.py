"""results.csv: one row per model and run, every metric in a column; safe to open in a spreadsheet."""

import csv
import io
from typing import Any

from palu.files import canonical_json
from palu.reporting.collect import Evaluation, Run, Study
from palu.reporting.inert import spreadsheet_safe
from palu.reporting.quality import quality

HEAD = ("model", "method", "tagger", "seed", "varied", "evaluation", "folder")
QUALITY = ("forget_quality_larger_neighbour", "forget_quality_smaller_neighbour", "statistic_low", "statistic_high")


def results_csv(study: Study) -> str:
    """The whole file. Numbers have all their digits; an empty cell has its reason in the last column."""
    evaluations = [*(evaluation for _, evaluation in study.models), *(run.evaluation for run in study.runs)]
    metrics = sorted({name for evaluation in evaluations for name in evaluation.summary})
    rows: list[list[Any]] = [[*HEAD, *metrics, *QUALITY, "reasons"]]
    for name, evaluation in study.models:
        rows.append(
            [name, None, None, None, None, str(evaluation.folder), None, *_numbers(study, evaluation, metrics)]
        )
    for arm in study.arms:
        rows += [[arm.name, *_about(run), *_numbers(study, run.evaluation, metrics)] for run in arm.runs]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([spreadsheet_safe(each) if isinstance(each, str) else each for each in row] for row in rows)
    return buffer.getvalue()


def _about(run: Run) -> list[Any]:
    entry = run.entry
    varied = canonical_json(entry.varied) if entry.varied else None
    return [entry.method, entry.tagger, entry.seed, varied, entry.evaluation, entry.folder]


def _numbers(study: Study, evaluation: Evaluation, metrics: list[str]) -> list[Any]:
    found = [evaluation.measured(metric) for metric in metrics]
    reasons = {metric: each.reason for metric, each in zip(metrics, found, strict=True) if each.reason is not None}
    own = quality([evaluation], study.retain)
    neighbours = [own.median.larger, own.median.smaller] if own.median else [None, None]
    interval = [own.interval.low, own.interval.high] if own.interval else [None, None]
    told = canonical_json(reasons) if reasons else None
    return [*(each.value for each in found), *(point and point.p_value for point in neighbours), *interval, told]
