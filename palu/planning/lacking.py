"""What this machine lacks for a study: libraries and spaCy pipelines that some settings need, and files of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from palu import devices, hub
from palu.models.gguf import is_gguf
from palu.study import Study


def problems(study: Study) -> Iterator[str]:
    """Each library and spaCy pipeline that the study needs and this Python does not have, with what installs it."""
    for tagger in study.taggers.values():
        if tagger.name == "presidio" and find_spec("presidio_analyzer") is None:
            yield f"taggers.{tagger.label}: presidio_analyzer is not installed: pip install 'palu[presidio]'"
        pipeline = getattr(tagger.settings, "pipeline", None)
        if pipeline and not Path(pipeline).is_dir() and not _is_installed(pipeline):
            yield (
                f"taggers.{tagger.label}: the pipeline {pipeline} is not installed: "
                f"python -m spacy download {pipeline}"
            )
    optimizers = {study.finetune.optimizer, *(run.training.optimizer for run in study.runs)} - {"adamw"}
    if optimizers and find_spec("bitsandbytes") is None:
        named = ", ".join(sorted(optimizers))
        yield f"optimizer {named}: bitsandbytes is not installed: pip install 'palu[bitsandbytes]'"
    for tracker in study.machine.trackers:
        if find_spec(tracker) is None:
            yield f"machine.trackers: {tracker} is not installed: pip install {tracker}"


def warnings(study: Study) -> Iterator[str]:
    """What keeps GPUs idle, and under HF_HUB_OFFLINE what is not in the hub's cache. Nothing is asked of the hub."""
    gpus, torch = devices.installed(), metadata.version("torch")
    if gpus and torch.endswith("+cpu"):
        yield f"torch {torch} is built for the CPU, so {len(gpus)} GPUs stay idle: install one that is built for CUDA"
    if not hub.is_offline():
        return
    for place, source, revision, kind in _sources(study):
        if (
            not is_gguf(source)
            and not Path(source).expanduser().is_dir()
            and not hub.is_cached(source, revision, kind)
        ):
            yield f"{place}: {source} is not in the hub's cache, and HF_HUB_OFFLINE is set: fetch it first"


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def _sources(study: Study) -> Iterator[tuple[str, str, str | None, str]]:
    """(key of the study, hub id or folder, revision, model or dataset)."""
    model = study.model
    for role in ("", "retain_", "base_"):
        if source := getattr(model, f"{role}checkpoint"):
            yield f"model.{role}checkpoint", source, getattr(model, f"{role}revision"), "model"
    settings = study.benchmark.settings
    if isinstance(source := getattr(settings, "source", None), str):
        yield "benchmark.source", source, getattr(settings, "revision", None), "dataset"
    for tagger in study.taggers.values():
        if source := getattr(tagger.settings, "checkpoint", None):
            yield f"taggers.{tagger.label}", source, getattr(tagger.settings, "revision", None), "model"
    if (source := study.evaluation.fluency.classifier) is not None:
        yield "evaluation.fluency.classifier", source, study.evaluation.fluency.revision, "model"
