"""GPUs, and whether torch can use them."""

import csv
import importlib.util
import io
import os
from collections.abc import Sequence
from typing import Any

from palu import devices
from palu.doctor.findings import Finding

_FIELDS = ("uuid", "name", "memory.total", "driver_version", "compute_cap")
# Compute capability from which a GPU computes in bfloat16 (Ampere)
BFLOAT16_FROM = 8.0


def details(text: str) -> list[dict[str, str]]:
    """What `nvidia-smi --query-gpu --format=csv,noheader,nounits` prints, one mapping for each GPU; memory in MiB."""
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    return [dict(zip(_FIELDS, row, strict=True)) for row in rows if len(row) == len(_FIELDS)]


def gpu_findings() -> list[Finding]:
    """The GPUs, which of them may be used here, and what torch says of them."""
    installed = devices.installed()
    asked = devices.ask(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits") if installed else None
    usable = devices.usable(installed, os.environ)
    return [*_each(details(asked or "")), _usable(installed, usable), _torch(bool(usable))]


def _each(found: Sequence[dict[str, str]]) -> list[Finding]:
    findings = []
    for number, gpu in enumerate(found):
        has_bfloat16 = gpu["compute_cap"].replace(".", "").isdecimal() and float(gpu["compute_cap"]) >= BFLOAT16_FROM
        text = (
            f"{gpu['name']}, {gpu['memory.total']} MiB, driver {gpu['driver_version']}, compute capability "
            f"{gpu['compute_cap']}, {'bfloat16' if has_bfloat16 else 'no bfloat16'}"
        )
        findings.append(Finding("GPUs", f"GPU {number}", {**gpu, "bfloat16": has_bfloat16}, text))
    return findings


def _usable(installed: Sequence[devices.Gpu], usable: Sequence[str]) -> Finding:
    if not installed:
        return Finding("GPUs", "usable", [], "none: every stage runs on the CPU")
    shown = os.environ.get(devices.VISIBLE)
    text = f"{len(usable)} devices of {len(installed)} GPUs, {devices.job_slots(lambda: installed)} jobs at once"
    hint = f"{devices.VISIBLE}={shown} hides all: unset it to use them" if shown is not None and not usable else ""
    return Finding("GPUs", "usable", list(usable), text, hint)


def _torch(has_gpus: bool) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("GPUs", "torch", None, "not installed", "install torch: `make setup`", is_needed=True)
    import torch

    cuda: Any = torch.version.cuda
    works = torch.cuda.is_available()
    value = {"cuda": cuda, "works": works, "hip": torch.version.hip}
    text = f"built for {f'CUDA {cuda}' if cuda else 'the CPU'}, {'sees a GPU' if works else 'sees no GPU'}"
    if has_gpus and not works:
        what = f"a driver for CUDA {cuda}" if cuda else "a torch that is built for CUDA"
        return Finding("GPUs", "torch", value, text, f"the GPUs lie idle: install {what}", is_needed=True)
    if works and not has_gpus and cuda:
        advice = "nvidia-smi names none, so jobs side by side share one: put it on the PATH"
        return Finding("GPUs", "torch", value, text, advice)
    return Finding("GPUs", "torch", value, text)
