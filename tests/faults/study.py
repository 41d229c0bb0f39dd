"""The smallest study whose plan holds every stage, and the jobs that Snakemake would run for it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.workflow import conftest as small

BASE, CLASSIFIER = "given/base", "given/classifier"
STUDY = small.STUDY | {
    "study": "faults",
    "benchmark": {"name": "village", "people": 8, "held_out_people": 1, "forget_people": 1},
    "model": {"name": "toy", "max_length": 96, "base_checkpoint": BASE},
    "taggers": {"gold": {"name": "annotations"}, "surprisal": {"name": "surprisal", "against": BASE}},
    "tagging": {"gold": "gold"},
    "reference": {"top_k": 60, "alternates": 2},
    "methods": {"palu": {"top_k": 40, "tagger": "gold"}, "dpo": {}},
    "training": {"epochs": 2, "learning_rate": 1e-3, "batch_size": 4},
    "evaluation": {
        "parts": ["forget", "retain", "holdout"],
        "max_new_tokens": 4,
        "gradient_norms": False,
        "tagger": "gold",
        "fluency": {"classifier": CLASSIFIER},
    },
    "trajectory_epochs": [],
}
# What a rule reads that is the user's own, not the study's
GIVEN = {"fetch_model": (BASE,), "classify_generations": (CLASSIFIER,)}
# Stage -> its rule, and what the outputs of the job that stands for it have in their names
STAGES = {
    "benchmark": ("prepare_benchmark", ""),
    "tag": ("tag_replies", "tags/"),
    "alternates": ("draw_alternates", ""),
    "fetch": ("fetch_model", "other-"),
    "finetune": ("finetune_model", "original/"),
    "reference": ("cache_states", ""),
    "topk": ("index_top_k", ""),
    "unlearn": ("unlearn_model", "/palu/"),
    "infer": ("infer_model", "/palu/"),
    "classify": ("classify_generations", "/palu/"),
    "score": ("score_model", "/palu/"),
    "score-tags": ("score_tags", ""),
    "score-taggers": ("score_taggers", ""),
    "report": ("report_study", ""),
}
# Those that load no model: their faults are quick to try
WITHOUT_MODEL = ("benchmark", "tag", "alternates")


@dataclass(frozen=True)
class Job:
    """A job of the plan. arguments: those of `palu`; none for a job that Snakemake does itself."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: tuple[str, ...]


def jobs_of(dry_run: str) -> list[Job]:
    """The jobs that `snakemake --dry-run --printshellcmds` prints, each with its block of facts and its command."""
    found = []
    for block in re.split(r"^(?:local)?rule ", dry_run, flags=re.MULTILINE)[1:]:
        facts = dict(re.findall(r"^    (input|output): (.+)$", block, re.MULTILINE))
        names = {key: tuple(name.strip() for name in text.split(", ")) for key, text in facts.items()}
        command = re.search(r"python -m palu (.+) > \S+ 2>&1$", block, re.MULTILINE)
        words = tuple(_words(command[1])) if command else ()
        rule = block.partition(":")[0]
        if "output" in names:
            found.append(Job(rule, names.get("input", ()) + GIVEN.get(rule, ()), names["output"], words))
    return found


def _words(command: str) -> Iterator[str]:
    yield from shlex.split(re.sub(r"\$\(dirname ([^)]+)\)", lambda found: str(Path(found[1]).parent), command))
