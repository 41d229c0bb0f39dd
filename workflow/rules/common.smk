"""The study of this start of Snakemake, where its files lie, and what each stage depends on."""

import os
import shlex
import sys
from pathlib import Path

# Snakemake's own folder of the workflow, so that the package is found in a clone that is not installed.
sys.path.insert(0, str(Path(workflow.basedir)))

from palu.digest import code_digest
from palu.errors import UserError
from palu.files import canonical_json, file_digest
from palu.study import Study
from palu import benchmarks, methods, tagging
from palu.evaluation import METRICS

# Jobs run this clone's package with the Python that runs Snakemake, installed and activated or not.
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    ),
    PYTHONPATH=os.pathsep.join(
        [str(workflow.basedir), os.environ.get("PYTHONPATH", "")]
    ),
)

try:
    study = Study.parse(
        config, str(workflow.configfiles[-1]) if workflow.configfiles else "study"
    )
except UserError as error:
    raise WorkflowError(str(error)) from None

SPLIT = f"results/{study.benchmark.name}/{study.benchmark.key}"
MODEL = f"{SPLIT}/{study.model_key}"
EXAMPLES = f"data/{study.benchmark.name}/{study.benchmark.key}.parquet"
RUNS = {(run.method, run.key): run for run in study.runs}
TAGGERS_BY_KEY = {tagger.key: tagger for tagger in study.taggers.values()}
EVALUATION = f"evaluation-{study.evaluation_key}"
EVALUATION_TAGS = (
    f"{SPLIT}/tags/{study.evaluation_tagger.key}.parquet"
    if study.evaluation_tagger
    else []
)
# The roles that the study gives a checkpoint for are fetched; the others are trained.
FETCHED = {role: source for role, source in study.checkpoints.items() if source}
TRAINED = [role for role, source in study.checkpoints.items() if not source]
# The study's own list of refusals, or the one that the clone ships.
REFUSALS = next(
    (
        str(path)
        for path in (
            Path(study.reference.refusals),
            Path(workflow.basedir) / study.reference.refusals,
        )
        if path.is_file()
    ),
    study.reference.refusals,
)
RETAIN_SCORES = (
    f"{MODEL}/retain/{EVALUATION}/scores.parquet"
    if "retain" in study.checkpoints
    else []
)


wildcard_constraints:
    benchmark=r"[\w.-]+",
    split=r"[\w.-]+",
    model=r"[\w.-]+",
    tagger=r"[\w.-]+",
    method=r"[\w.-]+",
    settings="[0-9a-f]{8}",
    evaluation="[0-9a-f]{8}",
    classifier="[0-9a-f]{8}",
    alternates="[0-9a-f]{8}",
    layer=r"\d+",
    seed=r"\d+",
    role="original|retain",


def run_folder(run):
    """Where a run's files lie."""
    return f"{MODEL}/{run.method}/{run.key}/seed{run.seed}"


def run_files(wildcards):
    """What a run reads besides its model and rows: option of `palu unlearn` -> file, for what its method asks for."""
    run = RUNS[wildcards.method, wildcards.settings]
    settings, reference = run.settings, f"{MODEL}/reference"
    tagger = run.tagger.key if run.tagger else ""
    files = {"spans": f"{SPLIT}/tags/{tagger}.parquet"} if tagger else {}
    if settings.needs & {"states", "log_probs"}:
        files["states"] = f"{reference}/states.parquet"
    if "top_k" in settings.needs:
        files["top_k_index"] = f"{reference}/{tagger}.topk.parquet"
    if "retain_states" in settings.needs:
        files["retain_states"] = f"{reference}/states.retain.parquet"
    if "retain_layer_states" in settings.needs:
        files["retain_layer_states"] = (
            f"{reference}/states.layer{settings.reads_layer}.parquet"
        )
    if "alternates" in settings.needs:
        key = study.reference.alternates_key
        files["alternates"] = f"{SPLIT}/alternates-{key}.parquet"
        files["alternate_states"] = f"{reference}/alternates-{key}.parquet"
    return files


def run_file_options(wildcards):
    """The same as options for the shell."""
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(path)}"
        for name, path in run_files(wildcards).items()
    )


def retain_scores(wildcards):
    """The retain model's scores, which forget quality compares with; none for that model itself, or without one."""
    is_compared = (
        "retain" in study.checkpoints
        and f"results/{wildcards.folder}" != f"{MODEL}/retain"
    )
    return f"{MODEL}/retain/{EVALUATION}/scores.parquet" if is_compared else []


def reference_logprobs(wildcards):
    """The other model of the reference attack: the retain model, and for that model the original; none without it."""
    if "retain" not in study.checkpoints:
        return []
    other = (
        "original" if f"results/{wildcards.folder}" == f"{MODEL}/retain" else "retain"
    )
    return f"{MODEL}/{other}/evaluation-{wildcards.evaluation}/logprobs.parquet"


def fluency_table(wildcards):
    """What the study's classifier says of the generations; none where the study names no classifier."""
    fluency = study.evaluation.fluency
    if fluency.classifier is None:
        return []
    folder = f"results/{wildcards.folder}/evaluation-{wildcards.evaluation}"
    return f"{folder}/fluency-{fluency.key}.parquet"


def optional(flag, value):
    """`flag value` for the shell, or nothing where there is no value."""
    return f"{flag} {shlex.quote(value)}" if value else ""


def evaluation_folders():
    """Every evaluated model of the study: original, retain, and each run with its kept epochs."""
    folders = [f"{MODEL}/{role}" for role in study.checkpoints]
    for run in study.runs:
        folders.append(run_folder(run))
        folders.extend(
            f"{run_folder(run)}/epoch{epoch}" for epoch in study.trajectory_epochs
        )
    return folders


def report_index():
    """What the report is told: where each model's evaluation lies, and what each run was made with."""
    spans = {
        label: f"{SPLIT}/tags/{tagger.key}.parquet"
        for label, tagger in study.taggers.items()
    }
    return study.description() | {
        "examples": EXAMPLES,
        "spans": spans,
        "display_tagger": (
            study.evaluation_tagger.label if study.evaluation_tagger else None
        ),
        "original": {"evaluation": f"{MODEL}/original/{EVALUATION}"},
        "retain": (
            {"evaluation": f"{MODEL}/retain/{EVALUATION}"}
            if "retain" in study.checkpoints
            else None
        ),
        "runs": [
            run.description()
            | {
                "folder": run_folder(run),
                "evaluation": f"{run_folder(run)}/{EVALUATION}",
                "trajectory": [
                    {
                        "epoch": epoch,
                        "evaluation": f"{run_folder(run)}/epoch{epoch}/{EVALUATION}",
                    }
                    for epoch in study.trajectory_epochs
                ],
            }
            for run in study.runs
        ],
    }
