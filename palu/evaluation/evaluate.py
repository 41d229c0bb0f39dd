"""An evaluation from model to summary in one call: what the workflow runs as two jobs."""

from pathlib import Path

from palu.evaluation.infer import GENERATIONS_NAME, LOGPROBS_NAME, infer
from palu.evaluation.score import score
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
    device: str | None = None,
) -> dict[str, float | None]:
    """Write all tables of an evaluation, its summary.json, reasons.json and open_unlearning.json; return the summary.

    The arguments are those of `infer` and `score`, and so are the errors.
    """
    infer(model_folder, examples_path, out_folder, model_settings, settings, device)
    return score(
        examples_path,
        out_folder / GENERATIONS_NAME,
        out_folder / LOGPROBS_NAME,
        out_folder,
        settings,
        run=run,
        retain_scores_path=retain_scores_path,
        spans_path=spans_path,
    )
