"""Which jobs the workflow would start now, as Snakemake's own dry run says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import palu
from palu.errors import UserError

_STATS = re.compile(r"^(\w+) +(\d+)$", re.MULTILINE)


def planned(values: Mapping[str, Any]) -> dict[str, int]:
    """Rule -> number of jobs that remain to be done in the folder of this run; empty where there is nothing to do.

    values: the study's plain values. The workflow is that of this folder, or of the package's clone.
    Raises UserError where there is no workflow, and with Snakemake's own words where it refuses.
    """
    package = Path(palu.__file__).parent.parent
    snakefile = next((path for path in (Path("Snakefile"), package / "Snakefile") if path.is_file()), None)
    if snakefile is None:
        raise UserError("no Snakefile in this folder: start in a clone of the workflow")
    with tempfile.TemporaryDirectory() as scratch:
        study = Path(scratch) / "study.yaml"
        study.write_text(yaml.safe_dump(dict(values), allow_unicode=True), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", str(study)]
        paths = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [*command, "--dry-run", "--quiet", "rules"],
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
    told = done.stdout + done.stderr
    if done.returncode:
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        start = next((number for number, line in enumerate(lines) if "Error" in line or "Exception" in line), 0)
        raise UserError("the workflow cannot be planned: " + " ".join(lines[start : start + 6])[:400])
    stats = told.rpartition("Job stats:")[2].partition("total")[0]
    jobs = {rule: int(count) for rule, count in _STATS.findall(stats)}
    return {rule: count for rule, count in jobs.items() if rule != "all"}
