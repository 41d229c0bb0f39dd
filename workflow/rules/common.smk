"""The study of this start of Snakemake, where its files lie, and what each stage depends on."""

import os
import shlex
import sys
from pathlib import Path

import yaml

# Snakemake's own folder of the workflow, so that the package is found in a clone that is not installed.
sys.path.insert(0, str(Path(workflow.basedir)))

from palu import devices
from palu.digest import code_digest
from palu.errors import UserError
from palu.files import canonical_json, file_digest, text_digest, write_text
from palu.jsonl import check_file
from palu.models.gguf import package_version
from palu.study import Study
from palu import benchmarks, methods, plain, tagging
from palu.evaluation import METRICS, module_of
from palu.tagging.base import MODEL_NEEDS

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
    place = str(workflow.configfiles[-1]) if workflow.configfiles else "study"
    # Snakemake takes the last of two equal keys in silence.
    for path in workflow.configfiles:
        if Path(path).suffix in {".yaml", ".yml"}:
            plain.read(Path(path))
    study = Study.parse(config, place)
    settings = [
        study.benchmark.settings,
        *(each.settings for each in study.taggers.values()),
    ]
    for path in (
        study.reference.refusals,
        *(path for each in settings for path in each.files),
    ):
        if {"{", "}"} & set(path):
            raise UserError(
                f"{place}: the path {path!r} holds a brace, which is a wildcard to Snakemake; allowed: other names"
            )
    for path in study.benchmark.settings.files:
        check_file(Path(path))
    # The rows that the scorecard of taggers is of: the study's own, and those that it goes on with.
    SCORED = {study.benchmark.key: study} | {
        name: Study.parse(
            study.tagging.sections(name, config), f"{place}: tagging.also.{name}"
        )
        for name in study.tagging.also
    }
except UserError as error:
    raise WorkflowError(str(error)) from None

SPLIT = f"results/{study.benchmark.name}/{study.benchmark.key}"
MODEL = f"{SPLIT}/{study.model_key}"
EXAMPLES = f"data/{study.benchmark.name}/{study.benchmark.key}.parquet"
GOLD = f"data/{study.benchmark.name}/{study.benchmark.key}.gold.parquet"
RUNS = {(run.method, run.key): run for run in study.runs}
TAGGERS_BY_KEY = {
    tagger.key: tagger for each in SCORED.values() for tagger in each.taggers.values()
}
BENCHMARKS_BY_KEY = {each.benchmark.key: each.benchmark for each in SCORED.values()}
EVALUATION = f"evaluation-{study.evaluation_key}"
# Checkpoints that taggers compare the original with, by the role that names them in a path.
COMPARED = {
    f"other-{text_digest(tagger.against)}": tagger.against
    for tagger in TAGGERS_BY_KEY.values()
    if tagger.against
}
# The roles that the study gives a checkpoint for are fetched; the others are trained.
FETCHED = {role: source for role, source in study.checkpoints.items() if source}
TRAINED = [role for role, source in study.checkpoints.items() if not source]
# What those are trained from, where the study names it.
BASE = (
    {"base": study.model.base_checkpoint}
    if TRAINED and study.model.base_checkpoint
    else {}
)
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
# Trainings in mixed precision read a reference that computes as they do, from a folder of its own.
PRECISIONS = {"no": "", "bf16": "-bf16"}
# A study says with which of its taggers the others are compared, or has no scorecard.
SCORECARD = [f"results/{study.name}/taggers.html"] if study.tagging.gold else []
RETAIN_SCORES = (
    f"{MODEL}/retain/{EVALUATION}/scores.parquet"
    if "retain" in study.checkpoints
    else []
)


# What a job that holds a model takes: of a large one every core where no GPU is, and torch as many threads, which Snakemake
# passes on as OMP_NUM_THREADS; of a small one a single core, so that several run at once. A cluster goes by its profile.
MODEL_THREADS = 1
# On one machine as many model jobs run at once as GPUs may hold: more would wait for a lease, each with a core taken.
# Without a GPU they are as free as other jobs; `--resources gpu_job=N` stands over it, and a cluster goes by its profile.
if (
    workflow.is_main_process
    and workflow.resource_settings.nodes is None
    and "gpu_job" not in workflow.global_resources
):
    try:
        if slots := devices.job_slots():
            workflow.register_resource("gpu_job", slots)
        elif not study.has_small_model:
            MODEL_THREADS = workflow.resource_settings.cores or 1
    except UserError as error:
        raise WorkflowError(str(error)) from None


wildcard_constraints:
    benchmark=r"[\w.-]+",
    split=r"[\w.-]+",
    model=r"[\w.-]+",
    tagger=r"[\w.-]+",
    gold=r"[\w.-]+",
    method=r"[\w.-]+",
    settings="[0-9a-f]{8}",
    evaluation="[0-9a-f]{8}",
    classifier="[0-9a-f]{8}",
    alternates="[0-9a-f]{8}",
    layer=r"\d+",
    precision="(-bf16)?",
    seed=r"\d+",
    role="original|retain",
    other="retain|other-[0-9a-f]{8}",


def as_json(settings):
    """Settings as a parameter: a function, since Snakemake takes a brace in a plain text for a wildcard."""
    return lambda wildcards: canonical_json(settings.model_dump(mode="json"))


def epoch_model(path):
    """The folder of a kept epoch's model, which goes once it is evaluated where the machine's settings say so."""
    folder = directory(path)
    return folder if study.machine.keep_epoch_models else temp(folder)


def tags_path(tagger, split=SPLIT, model=MODEL):
    """Where a tagger's spans lie: with the model where they depend on it."""
    folder = model if tagger.needs_model else split
    return f"{folder}/tags/{tagger.key}.parquet"


EVALUATION_TAGS = tags_path(study.evaluation_tagger) if study.evaluation_tagger else []
