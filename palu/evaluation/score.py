"""The arithmetic part of an evaluation: the model part's tables in, scores out. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from palu import evaluation, tables
from palu.errors import UserError
from palu.evaluation import METRICS, open_unlearning
from palu.evaluation.base import NO_ORIGINAL, NO_RETAIN, ItemScores, Missing, Scope, Value, row_value
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence, EvidencePaths, gather
from palu.evaluation.family import Family
from palu.evaluation.forget_quality import describe
from palu.evaluation.log_items import check_answers, derived, other_answers, true_answers
from palu.evaluation.settings import EvaluationSettings
from palu.files import write_json
from palu.stored import StoredRows, rows_tables, write_stream

# Why a metric that leaves out the rows that the length limit cut has no number for the peer's logs
NOT_IN_LOGS = "the peer's log does not tell which rows the length limit cut"
STEMMED_IN_LOGS = "the peer's log has the ROUGE of stemmed words alone"


@dataclass(frozen=True)
class Scored:
    """One model's scores: summary.json's values, and forget quality in a line with its interval and neighbours.

    remark: what a reader should know of the files that were given.
    """

    values: Mapping[str, Value]
    forget_quality: str | None
    remark: str | None = None

    @property
    def summary(self) -> dict[str, float | None]:
        """The numbers, null where there is none."""
        return {name: None if isinstance(value, Missing) else value for name, value in self.values.items()}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each null is one."""
        return {name: value.reason for name, value in self.values.items() if isinstance(value, Missing)}


def score(
    paths: EvidencePaths,
    out_folder: Path,
    settings: EvaluationSettings,
    run: str = "",
    retain_scores_path: Path | None = None,
    original_scores_path: Path | None = None,
) -> Scored:
    """Write scores.parquet, summary.json, reasons.json and open_unlearning.json for one model; return what they hold.

    run: the model's name in the scores table. retain_scores_path: the retain model's scores.parquet, or its log in
    the peer's layout (.json); its losses serve the reference attack where `paths` names no reference.
    original_scores_path: the same of the model before unlearning, for the utility relative to it.
    Raises UserError for tables that are damaged, or of other examples or of two models.
    """
    if not settings.gradient_norms:
        paths = replace(paths, gradient_norms=None)
    evidence = gather(paths, settings)
    retain = None if retain_scores_path is None else read_items(retain_scores_path, evidence.items)
    original = None if original_scores_path is None else read_items(original_scores_path, evidence.items)
    evidence = evidence.beside(retain, settings.retain_auc, original)
    items = item_scores(evidence, settings.metrics)
    facts = tables.provenance(paths.logprobs)
    provenance = {key: value for key, value in facts.items() if key in {"model", "examples"}}
    values = aggregate(items, evidence.scope, settings.metrics)
    scored = Scored(values, describe(values, items, evidence.scope))
    open_unlearning.write_log(out_folder / "open_unlearning.json", evidence, items, scored.summary)
    write(out_folder, items, scored, run, provenance)
    return scored


def item_scores(evidence: Evidence, metrics: list[str] | None) -> ItemScores:
    """The items of every family that the metrics need."""
    items: dict[str, Mapping[str, Value]] = {}
    for family in _families(metrics):
        items |= family.items(evidence)
    return items


def aggregate(items: ItemScores, scope: Scope, metrics: list[str] | None) -> dict[str, Value]:
    """summary.json's values: the metrics asked for, or all that the given files allow."""
    found: dict[str, Value] = {}
    for family in _families(metrics):
        found |= family.summary(items, scope)
    if metrics is None:
        return {name: found[name] for name in sorted(METRICS) if name in found}
    return {name: found[name] if name in found else Missing(METRICS[name].without) for name in metrics}


def _families(metrics: list[str] | None) -> list[Family]:
    """The modules of the metrics and of what they are computed from, sources first, each once."""
    ordered: list[Family] = []

    def visit(family: Family) -> None:
        for source in family.SOURCES:
            visit(cast("Family", source))
        if family not in ordered:
            ordered.append(family)

    for name in sorted(METRICS) if metrics is None else metrics:
        visit(cast("Family", evaluation.load(name, "evaluation.metrics")))
    return ordered


def write(out_folder: Path, items: ItemScores, scored: Scored, run: str, provenance: Mapping[str, str]) -> None:
    """Write the three files of one model's scores; summary.json last, so that it stands for the whole."""
    rows = (
        {
            "run": run,
            "example_id": example_id,
            "metric": metric,
            "value": None if isinstance(value, Missing) else value,
            "reason": value.reason if isinstance(value, Missing) else None,
        }
        for metric, scores in items.items()
        for example_id, value in scores.items()
    )
    write_stream(out_folder / "scores.parquet", "scores", rows_tables(rows, "scores"), provenance)
    write_json(out_folder / "reasons.json", scored.reasons)
    write_json(out_folder / "summary.json", scored.summary)


def read_items(path: Path, own_items: open_unlearning.Items | None = None) -> ItemScores:
    """Item scores from a scores table of ours or, where the name ends in .json, from a log in the peer's layout.

    own_items: the benchmark's items, which the log's are.
    """
    if path.suffix == ".json":
        log = open_unlearning.read_log(path, own_items)
        if own_items is not None:
            check_answers(path, own_items)
        return log
    items: dict[str, ScoreColumn] = {}
    runs = set()
    for row in StoredRows(path, "scores").columns("run", "metric", "example_id", "value", "reason"):
        runs.add(row["run"])
        items.setdefault(row["metric"], ScoreColumn()).add(row["example_id"], row_value(row))
    if len(runs) > 1:
        raise UserError(f"{path}: holds the scores of {len(runs)} runs; allowed: one")
    return items


def score_log(
    log_path: Path,
    out_folder: Path,
    retain_log_path: Path | None = None,
    retain_auc: float | None = None,
    original_log_path: Path | None = None,
) -> Scored:
    """Re-aggregate a log in the peer's layout, without a model; writes what `score` writes.

    retain_log_path: the retain model's log, or its scores.parquet. retain_auc: its Min-K AUC. original_log_path: the
    log, or the scores.parquet, of the model before unlearning.
    """
    items = open_unlearning.read_log(log_path)
    retain = NO_RETAIN if retain_log_path is None else _compared(log_path, items, retain_log_path)
    original = NO_ORIGINAL if original_log_path is None else _compared(log_path, items, original_log_path)
    scope = Scope(str(log_path), frozenset(), retain, retain_auc, partial=True, original=original)
    items = {**items, **derived(items.get("loss", {}))}
    values = aggregate(items, scope, None)
    for name, value in values.items():
        if name.endswith("_corrected") and isinstance(value, Missing):
            values[name] = Missing(NOT_IN_LOGS)
        elif f"{name}_stemmed" in values and isinstance(value, Missing):
            values[name] = Missing(STEMMED_IN_LOGS)
    remark = _same_log(log_path, items, retain_log_path, retain)
    scored = Scored(values, describe(values, items, scope), remark)
    write(out_folder, items, scored, log_path.stem, {})
    return scored


def _compared(log_path: Path, items: ItemScores, path: Path) -> ItemScores | Missing:
    """Item scores of the model that a log is compared with, under the log's ids; Missing where they are of other
    items, as the true answers show."""
    found = read_items(path)
    if path.suffix == ".json":
        place = other_answers(true_answers(log_path), true_answers(path))
        return found if place is None else Missing(f"{path} is of other items: {place} has another true answer")
    # The table names the rows of the benchmark, the log their places: both are in the benchmark's order
    return {
        metric: dict(zip(sorted(items[metric]), values.values(), strict=True))
        if metric in items and len(items[metric]) == len(values)
        else values
        for metric, values in found.items()
    }


def _same_log(log_path: Path, items: ItemScores, path: Path | None, others: ItemScores | Missing) -> str | None:
    if path is None or isinstance(others, Missing):
        return None

    def numbers(found: ItemScores) -> dict[str, dict[str, Value]]:
        shared = {metric: found[metric].items() for metric in items.keys() & others.keys()}
        return {
            metric: {key: value for key, value in pairs if not isinstance(value, Missing)}
            for metric, pairs in shared.items()
        }

    own = numbers(items)
    if own != numbers(others) or not any(own.values()):
        return None
    return f"{log_path} and {path} hold the same scores: the model is compared with itself"
