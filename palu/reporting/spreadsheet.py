"""results.csv: one row per model and run, every metric in a column; safe to open in a spreadsheet."""

from collections.abc import Mapping, Sequence
from typing import Any

from palu.files import canonical_json
from palu.ks import ks_neighbours
from palu.reporting.cells import csv_text
from palu.reporting.choice import Selection
from palu.reporting.load import Evaluation, Study
from palu.reporting.numbers import deviation
from palu.reporting.quality import Quality
from palu.reporting.targets import STATISTIC
from palu.reporting.verdict import Judged

HEAD = ("model", "method", "tagger", "seed", "varied", "recommended_on", "evaluation", "folder")
NEIGHBOURS = ("forget_quality_larger_neighbour", "forget_quality_smaller_neighbour")
# The same in every row of an arm: D's mean and sample deviation over seeds, the interval of that mean over items and
# seeds, and the arms that it is tied with
OVER_SEEDS = (
    "statistic_seed_mean", "statistic_seed_deviation", "statistic_mean_low", "statistic_mean_high",
    "statistic_tied_with",
)  # fmt: skip


def results_csv(study: Study, quality: Mapping[str, Quality], verdicts: Sequence[Judged], selection: Selection) -> str:
    """The whole file. Numbers have all their digits; an empty cell has its reason in the last column.

    `recommended_on` says by which items an arm was recommended, and is empty for all others. `X_verdict` is the status
    of an arm by metric X and `X_verdict_low`, `X_verdict_high` its interval, in every row of the arm.
    """
    metrics = sorted({name for evaluation in study.evaluations for name in evaluation.summary})
    checks = (*verdicts[0].checks, *verdicts[0].shown)
    judged = [f"{each.name}_verdict{end}" for each in checks for end in ("", "_low", "_high")]
    rows: list[list[Any]] = [[*HEAD, *metrics, *NEIGHBOURS, *OVER_SEEDS, *judged, "reasons"]]
    count = next((its.item_count for its in quality.values() if its.item_count), None)
    for name, evaluation in study.models:
        *numbers, reasons = _numbers(evaluation, count, metrics)
        empty = [None] * (len(OVER_SEEDS) + len(judged))
        rows.append([name, *[None] * 5, str(evaluation.folder), None, *numbers, *empty, reasons])
    recommended = {choice.arm for choice in selection.choices}
    for verdict in verdicts:
        arm, its = verdict.arm, quality[verdict.arm.name]
        items = selection.items if arm.name in recommended else None
        over_seeds = [
            its.mean,
            deviation(its.statistics),
            *(its.interval or [None, None]),
            "; ".join(its.tied) or None,
        ]
        statuses = [part for each in (*verdict.checks, *verdict.shown) for part in (each.status, each.low, each.high)]
        for run in arm.runs:
            entry = run.entry
            varied = canonical_json(entry.varied) if entry.varied else None
            about = [entry.method, entry.tagger, entry.seed, varied, items, entry.evaluation, entry.folder]
            *numbers, reasons = _numbers(run.evaluation, its.item_count, metrics)
            rows.append([arm.name, *about, *numbers, *over_seeds, *statuses, reasons])
    return csv_text(rows)


def _numbers(evaluation: Evaluation, count: int | None, metrics: list[str]) -> list[Any]:
    """The metrics, the attainable p-values next to that of `count` items on either side, and the reasons."""
    found = {metric: evaluation.measured(metric) for metric in metrics}
    reasons = {metric: each.reason for metric, each in found.items() if each.reason is not None}
    neighbours: list[float | None] = [None, None]
    statistic = evaluation.measured(STATISTIC).value
    if statistic is not None and count is not None:
        near = ks_neighbours(statistic, count, count)
        neighbours = [point.p_value if point else None for point in (near.larger, near.smaller)]
    values = (each.value for each in found.values())
    return [*values, *neighbours, canonical_json(reasons) if reasons else None]
