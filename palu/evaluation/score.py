"""The arithmetic part of an evaluation: the model part's tables in, scores out. Loads no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from palu import evaluation, tables
from palu.errors import UserError
from palu.evaluation import METRICS, open_unlearning
from palu.evaluation.base import ItemScores, Missing, Scope, Value
from palu.evaluation.evidence import Evidence, gather
from palu.evaluation.family import Family
from palu.evaluation.settings import EvaluationSettings
from palu.files import write_json

# Metrics that stay out of the summary, unless asked for by name, where their input was not given
OPTIONAL = {
    "forget_initiating_probability": "no spans were given",
    "forget_paraphrased_question_probability": "the paraphrased questions were not given to the model",
    "forget_paraphrased_question_rouge": "the paraphrased questions were not asked",
}


def score(
    examples_path: Path,
    generations_path: Path,
    logprobs_path: Path,
    out_folder: Path,
    settings: EvaluationSettings,
    run: str = "",
    retain_scores_path: Path | None = None,
    spans_path: Path | None = None,
) -> dict[str, float | None]:
    """Write scores.parquet, summary.json, reasons.json and open_unlearning.json for one model; return the summary.

    run: the model's name in the scores table. retain_scores_path: the retain model's scores.parquet, or its log in
    the peer's layout (.json). spans_path: a tagger's spans, for the initiating tokens.
    Raises UserError for tables that are damaged, or of other examples or of two models.
    """
    retain = None if retain_scores_path is None else read_items(retain_scores_path)
    evidence = gather(examples_path, generations_path, logprobs_path, spans_path, settings.first_n, retain)
    items = item_scores(evidence, settings.metrics)
    facts = tables.provenance(logprobs_path)
    provenance = {key: value for key, value in facts.items() if key in {"model", "examples"}}
    values = aggregate(items, evidence.scope, settings.metrics)
    open_unlearning.write_log(out_folder / "open_unlearning.json", evidence, items, plain(values))
    return write(out_folder, items, values, run, provenance)


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
        return {name: found[name] for name in METRICS if name in found}
    return {name: found[name] if name in found else Missing(OPTIONAL[name]) for name in metrics}


def _families(metrics: list[str] | None) -> list[Family]:
    """The modules of the metrics and of what they are computed from, sources first, each once."""
    ordered: list[Family] = []

    def visit(family: Family) -> None:
        for source in family.SOURCES:
            visit(cast("Family", source))
        if family not in ordered:
            ordered.append(family)

    for name in METRICS if metrics is None else metrics:
        visit(cast("Family", evaluation.load(name, "evaluation.metrics")))
    return ordered


def write(
    out_folder: Path, items: ItemScores, values: Mapping[str, Value], run: str, provenance: Mapping[str, str]
) -> dict[str, float | None]:
    """Write the three files of one model's scores; summary.json last, so that it stands for the whole."""
    rows = [
        {
            "run": run,
            "example_id": example_id,
            "metric": metric,
            "value": None if isinstance(value, Missing) else value,
            "reason": value.reason if isinstance(value, Missing) else None,
        }
        for metric, scores in items.items()
        for example_id, value in scores.items()
    ]
    summary = plain(values)
    reasons = {name: value.reason for name, value in values.items() if isinstance(value, Missing)}
    tables.write(out_folder / "scores.parquet", "scores", rows, provenance)
    write_json(out_folder / "reasons.json", reasons)
    write_json(out_folder / "summary.json", summary)
    return summary


def plain(values: Mapping[str, Value]) -> dict[str, float | None]:
    """The numbers of a summary, null where there is none."""
    return {name: None if isinstance(value, Missing) else value for name, value in values.items()}


def read_items(path: Path) -> ItemScores:
    """Item scores from a scores table of ours or, where the name ends in .json, from a log in the peer's layout."""
    if path.suffix == ".json":
        return open_unlearning.read_log(path)
    items: dict[str, dict[str, Value]] = {}
    runs = set()
    for row in tables.rows(path, "scores"):
        runs.add(row["run"])
        value = row["value"] if row["reason"] is None else Missing(row["reason"])
        items.setdefault(row["metric"], {})[row["example_id"]] = value
    if len(runs) > 1:
        raise UserError(f"{path}: holds the scores of {len(runs)} runs; allowed: one")
    return items


def score_log(log_path: Path, out_folder: Path, retain_log_path: Path | None = None) -> dict[str, float | None]:
    """Re-aggregate a log in the peer's layout, without a model; writes what `score` writes.

    retain_log_path: the retain model's log, or its scores.parquet.
    """
    items = open_unlearning.read_log(log_path)
    retain = None if retain_log_path is None else read_items(retain_log_path)
    scope = Scope(str(log_path), kinds=frozenset(), retain=retain, partial=True)
    return write(out_folder, items, aggregate(items, scope, None), log_path.stem, {})
