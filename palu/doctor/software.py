"""Versions of what the stages stand on, and the hub."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import palu
from palu.doctor.findings import Finding
from palu.hub import access

NEEDED = ("torch", "transformers", "snakemake", "spacy", "datasets", "accelerate", "pyarrow")
HUB_SECONDS = 3.0


def version_of(name: str) -> str | None:
    """The installed version of a distribution, which is not imported; None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def spacy_pipelines() -> list[str]:
    """The installed spaCy pipelines, which name themselves as entry points; spaCy is not imported."""
    return sorted(point.name for point in metadata.entry_points(group="spacy_models"))


def commit() -> str | None:
    """The commit of the clone that this package runs from, with + where files of it changed; None outside of one."""
    folder = Path(palu.__file__).resolve().parent
    found = []
    for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no", ".")):
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
        except OSError:
            return None
        if done.returncode != 0:
            return None
        found.append(done.stdout.strip())
    return found[0] + ("+" if found[1] else "")


def software_findings() -> list[Finding]:
    """Versions; what is missing is needed."""
    own = commit()
    findings = [
        Finding("software", "palu", {"version": palu.__version__, "commit": own}, f"{palu.__version__}, commit {own}"),
        Finding("software", "python", platform.python_version(), platform.python_version()),
    ]
    for name in NEEDED:
        version = version_of(name)
        advice = "" if version else f"install {name}: `make setup`"
        findings.append(Finding("software", name, version, version or "not installed", advice, is_needed=True))
    pipelines = spacy_pipelines()
    return [*findings, Finding("software", "spaCy pipelines", pipelines, ", ".join(pipelines) or "none")]


def hub_findings() -> list[Finding]:
    """How the hub would be asked, whether it answers, and whether there is a token, which is not read out."""
    endpoint, is_offline = access.endpoint(), access.is_offline()
    value = {"endpoint": endpoint, "offline": is_offline, "has_token": access.has_token()}
    problem = None if is_offline else access.unreachable(HUB_SECONDS)
    if is_offline:
        text = "not asked: HF_HUB_OFFLINE is set"
    else:
        text = f"{endpoint} does not answer ({problem})" if problem else f"{endpoint} answers"
    advice = f"set HF_ENDPOINT to a mirror, or HF_HUB_OFFLINE=1 to ask no more than the cache in {access.cache()}"
    named = "set" if value["has_token"] else "none: gated models need one (HF_TOKEN)"
    return [
        Finding("hub", "access", value | {"answers": not is_offline and not problem}, text, advice if problem else ""),
        Finding("hub", "token", value["has_token"], named),
        Finding("hub", "HF_ENDPOINT", os.environ.get("HF_ENDPOINT"), os.environ.get("HF_ENDPOINT") or "not set"),
    ]
