"""An evaluation from model to summary in one call: what the workflow runs as several jobs."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

from palu.evaluation.classify import FLUENCY_NAME, classify
from palu.evaluation.evidence import EvidencePaths
from palu.evaluation.infer import (
    GENERATIONS_NAME,
    GRADIENT_NORMS_NAME,
    LOGPROBS_NAME,
    REFERENCE_NAME,
    infer,
    infer_reference,
)
from palu.evaluation.judge_answers import ANSWERS_NAME, judge_answers
from palu.evaluation.rouge import stemmer
from palu.evaluation.score import Scored, score
from palu.evaluation.settings import EvaluationSettings
from palu.models import ModelSettings


def evaluate(
    model_folder: Path,
    examples_path: Path,
    out_folder: Path,
    model_settings: ModelSettings,
    settings: EvaluationSettings,
    run: str = "",
    retain_scores_path: Path | None = None,
    spans_path: Path | None = None,
    reference_folder: Path | None = None,
    original_folder: Path | None = None,
    device: str | None = None,
    original_scores_path: Path | None = None,
    gold_path: Path | None = None,
) -> Scored:
    """Write all tables of an evaluation, its summary.json, reasons.json and open_unlearning.json; return the scores.

    reference_folder: the other model of the reference attack. original_folder: the model before unlearning, which
    judges the answers. Both read prompts in the same template. gold_path: the benchmark's own spans. The other
    arguments are those of `infer` and `score`, and so are the errors.
    """
    # seconds to load, and not needed before the model is done
    Thread(target=stemmer, daemon=True).start()
    infer(model_folder, examples_path, out_folder, model_settings, settings, device)
    if reference_folder is not None:
        infer_reference(reference_folder, examples_path, out_folder, model_settings, settings, device)
    answers = None
    if original_folder is not None:
        answers = out_folder / ANSWERS_NAME
        generations = out_folder / GENERATIONS_NAME
        judge_answers(original_folder, examples_path, generations, answers, model_settings, settings, device)
    fluency = None
    if settings.fluency.classifier is not None:
        fluency = out_folder / FLUENCY_NAME
        classify(examples_path, out_folder / GENERATIONS_NAME, fluency, settings.fluency, device)
    paths = EvidencePaths(
        examples=examples_path,
        generations=out_folder / GENERATIONS_NAME,
        logprobs=out_folder / LOGPROBS_NAME,
        spans=spans_path,
        gradient_norms=out_folder / GRADIENT_NORMS_NAME,
        fluency=fluency,
        reference=None if reference_folder is None else out_folder / REFERENCE_NAME,
        answers=answers,
        gold=gold_path,
    )
    return score(paths, out_folder, settings, run, retain_scores_path, original_scores_path)
