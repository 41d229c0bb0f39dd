"""results.csv: one row per model and run, every metric in a column; safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from palu.files import canonical_json
from palu.inert import spreadsheet_safe
from palu.ks import ks_neighbours
from palu.reporting.aims import STATISTIC
from palu.reporting.choice import Selection
from palu.reporting.collect import Arm, Evaluation, Run, Study
from palu.reporting.quality import Qualities, Quality
from palu.reporting.verdict import Verdict

HEAD = ("model", "method", "tagger", "seed", "varied", "recommended_on", "evaluation", "folder")
NEIGHBOURS = ("forget_quality_larger_neighbour", "forget_quality_smaller_neighbour")
# The same in every row of an arm: D's mean and sample deviation over seeds, the interval of that mean over items and
# seeds, and the arms that it is tied with.
OVER_SEEDS = (
    "statistic_seed_mean", "statistic_seed_deviation", "statistic_mean_low", "statistic_mean_high",
    "statistic_tied_with",
)  # fmt: skip
VERDICT = ("verdict", "verdict_low", "verdict_high")


def results_csv(study: Study, qualities: Qualities, verdicts: Sequence[Verdict], selection: Selection) -> str:
    """The whole file. Numbers have all their digits; an empty cell has its reason in the last column.

    `recommended_on` says by which items an arm was recommended, and is empty for all others. `X_verdict`
    is the status of an arm by metric X and `X_verdict_low`, `X_verdict_high` its interval, in every row of the arm.
    """
    evaluations = [*(evaluation for _, evaluation in study.models), *(run.evaluation for run in study.runs)]
    metrics = sorted({name for evaluation in evaluations for name in evaluation.summary})
    checks = (*verdicts[0].checks, *verdicts[0].noticed)
    judged = [f"{each.measure.metric}_{end}" for each in checks for end in VERDICT]
    rows: list[list[Any]] = [[*HEAD, *metrics, *NEIGHBOURS, *OVER_SEEDS, *judged, "reasons"]]
    for name, evaluation in study.models:
        *numbers, reasons = _numbers(evaluation, qualities.references[name], metrics)
        empty = [None] * (len(OVER_SEEDS) + len(judged))
        rows.append([name, *[None] * 5, str(evaluation.folder), None, *numbers, *empty, reasons])
    recommended = {choice.arm for choice in selection.choices}
    for verdict in verdicts:
        arm = verdict.arm
        items = selection.items if arm.name in recommended else None
        over_seeds, statuses = _over_seeds(arm, qualities), list(_judged(verdict))
        for run in arm.runs:
            *numbers, reasons = _numbers(run.evaluation, qualities.arms[arm.name], metrics)
            rows.append([arm.name, *_about(run, items), *numbers, *over_seeds, *statuses, reasons])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([spreadsheet_safe(each) if isinstance(each, str) else each for each in row] for row in rows)
    return buffer.getvalue()


def _over_seeds(arm: Arm, qualities: Qualities) -> list[Any]:
    its = qualities.arms[arm.name]
    spread = [its.statistic.mean, its.statistic.deviation] if its.statistic else [None, None]
    return [*spread, *(its.interval or [None, None]), "; ".join(qualities.ties(arm.name)) or None]


def _about(run: Run, items: str | None) -> list[Any]:
    entry = run.entry
    varied = canonical_json(entry.varied) if entry.varied else None
    return [entry.method, entry.tagger, entry.seed, varied, items, entry.evaluation, entry.folder]


def _judged(verdict: Verdict) -> Iterator[Any]:
    for each in (*verdict.checks, *verdict.noticed):
        yield from (each.status, each.low, each.high)


def _numbers(evaluation: Evaluation, quality: Quality, metrics: list[str]) -> list[Any]:
    found = [evaluation.measured(metric) for metric in metrics]
    reasons = {metric: each.reason for metric, each in zip(metrics, found, strict=True) if each.reason is not None}
    neighbours: list[float | None] = [None, None]
    statistic, count = evaluation.measured(STATISTIC).value, quality.item_count
    if statistic is not None and count is not None:
        near = ks_neighbours(statistic, count, count)
        neighbours = [point.p_value if point else None for point in (near.larger, near.smaller)]
    return [*(each.value for each in found), *neighbours, canonical_json(reasons) if reasons else None]
