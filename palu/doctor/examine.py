"""The examination: the machine, then what a study would use of it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from palu import plain
from palu.doctor.findings import Finding, Report, first
from palu.doctor.gpus import gpu_findings
from palu.doctor.machine import machine_findings, storage_findings
from palu.doctor.software import hub_findings, software_findings, spacy_pipelines
from palu.errors import UserError
from palu.hub import access
from palu.models.gguf import find_gguf, is_gguf
from palu.study import DEFAULT_STUDY, Study


def examine(study_path: Path | None = None) -> Report:
    """Look at everything. study_path: a study's file; None = the demo, where the current folder has it.

    Raises nothing for a study that cannot be read: that is a finding, too.
    """
    findings = [
        *machine_findings(),
        *storage_findings(access.cache()),
        *gpu_findings(),
        *software_findings(),
        *hub_findings(),
    ]
    if study_path is None and not DEFAULT_STUDY.is_file():
        return Report([*findings, Finding("study", "file", None, "none: no study is named, and no demo is here")])
    return Report([*findings, *study_findings(study_path or DEFAULT_STUDY, findings)])


def study_findings(path: Path, machine: list[Finding]) -> list[Finding]:
    """What the study of this file would use. machine: what was found before."""
    try:
        study = _read(path)
    except UserError as error:
        return [Finding("study", "file", str(path), str(path), str(error), is_needed=True)]
    cores, has_gpu = first(machine, "cores").value["usable"], bool(first(machine, "usable").value)
    can_ask = first(machine, "access").value["answers"]
    threads = 1 if study.has_small_model else max(1, int(cores))
    jobs = f"{len(study.runs)} runs, {max(1, int(cores)) // threads} at once, each with {threads} threads"
    model = study.model
    source = model.checkpoint or model.base_checkpoint or "trained here from nothing"
    return [
        Finding("study", "file", str(path), f"{study.name} ({path})"),
        Finding("study", "jobs", {"runs": len(study.runs), "threads": threads}, jobs),
        Finding("study", "device", "cuda" if has_gpu else "cpu", _device(study, has_gpu), _slow(study, has_gpu)),
        Finding("study", "model", {"source": source, "dtype": model.dtype}, f"{model.name}: {source}, {model.dtype}"),
        *(_origin(*wanted, can_ask) for wanted in _origins(study)),
        *_libraries(study),
    ]


def _read(path: Path) -> Study:
    return Study.parse(plain.read(path), str(path))


def _device(study: Study, has_gpu: bool) -> str:
    precision = study.runs[0].training.mixed_precision if study.runs else "no"
    return f"{'one GPU for each job' if has_gpu else 'the CPU'}, mixed precision: {precision}"


def _slow(study: Study, has_gpu: bool) -> str:
    is_large = study.model.checkpoint is not None or study.model.base_checkpoint is not None
    return "a model with given weights on a CPU: slow, unless it is small" if is_large and not has_gpu else ""


def _origins(study: Study) -> Iterator[tuple[str, str, str | None, bool, bool]]:
    """(name, hub id or folder, revision, whether it is a dataset, whether the work needs it)."""
    model = study.model
    for kind in ("", "retain_", "base_"):
        if source := getattr(model, f"{kind}checkpoint"):
            yield f"{kind}checkpoint", source, getattr(model, f"{kind}revision"), False, True
    source = getattr(study.benchmark.settings, "source", None)
    if isinstance(source, str):
        yield "benchmark", source, getattr(study.benchmark.settings, "revision", None), True, True
    for tagger in study.taggers.values():
        if checkpoint := getattr(tagger.settings, "checkpoint", None):
            yield f"tagger {tagger.label}", checkpoint, getattr(tagger.settings, "revision", None), False, True
    fluency = study.evaluation.fluency
    if fluency.classifier is not None:
        yield "fluency classifier", fluency.classifier, fluency.revision, False, False


def _origin(name: str, source: str, revision: str | None, is_dataset: bool, is_needed: bool, can_ask: bool) -> Finding:
    if is_gguf(source):
        return _gguf(name, source)
    is_folder = Path(source).expanduser().is_dir()
    is_here = is_folder or access.is_cached(source, revision, is_dataset)
    where = "a local folder" if is_folder else "in the hub's cache" if is_here else "not here yet"
    advice = "" if is_here or can_ask else "not here, and the hub cannot be asked: download it first, or name a folder"
    if advice and not is_needed:
        advice += "; without it the metric is null, with this reason"
    return Finding("study", name, {"source": source, "is_here": is_here}, f"{source}, {where}", advice, is_needed)


def _gguf(name: str, source: str) -> Finding:
    try:
        found = find_gguf(source)
    except UserError as error:
        return Finding("study", name, {"source": source, "is_here": False}, source, str(error), is_needed=True)
    return Finding("study", name, {"source": source, "is_here": True}, f"{source}, the file {found.path.name}")


def _libraries(study: Study) -> Iterator[Finding]:
    """What only some studies need: pipelines and libraries that are not installed with palu."""
    for tagger in study.taggers.values():
        pipeline = getattr(tagger.settings, "pipeline", None)
        if tagger.name == "spacy" and pipeline and pipeline not in spacy_pipelines() and not Path(pipeline).is_dir():
            advice = f"python -m spacy download {pipeline}"
            yield Finding("study", f"tagger {tagger.label}", pipeline, f"pipeline {pipeline}", advice, is_needed=True)
    # module -> what pip is told
    has_presidio = any(tagger.name == "presidio" for tagger in study.taggers.values())
    wanted = {"presidio_analyzer": "'palu[presidio]'"} if has_presidio else {}
    if any(run.training.optimizer != "adamw" for run in study.runs) or study.finetune.optimizer != "adamw":
        wanted["bitsandbytes"] = "'palu[bitsandbytes]'"
    wanted |= {tracker: tracker for tracker in study.machine.trackers}
    for module, package in wanted.items():
        is_here = importlib.util.find_spec(module) is not None
        advice = "" if is_here else f"install it: pip install {package}"
        yield Finding("study", module, is_here, "installed" if is_here else "missing", advice, is_needed=True)
