"""A finished small study in a copy of the workflow: a test edits sources and settings and looks at the plan."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]

STUDY = {
    "study": "small",
    "benchmark": {"name": "village", "people": 8, "held_out_people": 1, "forget_people": 2},
    "model": {
        "name": "toy",
        "max_length": 96,
        "architecture": {"vocab_size": 400, "hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1},
    },
    "finetune": {"epochs": 1},
    "taggers": {"gold": {"name": "annotations"}},
    "reference": {"top_k": 60},
    "methods": {"palu": {"top_k": 40, "local_weight": 0.5, "retain_weight": 2.0}, "npo": {"beta": 0.1}},
    "training": {"epochs": 2, "learning_rate": 1e-3},
    "evaluation": {"max_new_tokens": 4, "fluency": {"classifier": None}},
    "trajectory_epochs": [1],
}


class Project:
    """A copy of the workflow with its own study file."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("Snakefile", "workflow", "palu"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """One that is there already."""
        found = object.__new__(cls)
        found.folder = folder
        return found

    def copied(self, folder: Path) -> "Project":
        """A copy that may be edited."""
        # links to the large outputs would do, but Snakemake compares modification times of what it finds
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=shutil.copy2)
        return Project.at(folder)

    def snakemake(self, study: dict, *arguments: str) -> subprocess.CompletedProcess:
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "study.yaml", *arguments]
        environment = os.environ | {"PYTHONPATH": str(self.folder)}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def planned(self, study: dict) -> dict[str, int]:
        """Rule -> number of jobs that a run would start now, the target rule left out; empty = nothing to do."""
        found = self.snakemake(study, "--dry-run")
        assert found.returncode == 0, found.stderr
        stats = (found.stdout + found.stderr).partition("Job stats:")[2].partition("total")[0]
        jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
        jobs.pop("all", None)
        return jobs


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The small study, run to its report. Read only: take a copy through `project` to edit it."""
    # The processes of a run of the tests have one such study: the first that asks makes it, the others wait.
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "finished"
    with FileLock(f"{folder}.lock"):
        if (folder / "done").is_file():
            return Project.at(folder)
        folder.mkdir()
        project = Project(folder)
        done = project.snakemake(STUDY)
        assert done.returncode == 0, done.stderr
        (folder / "done").touch()
        return project


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A finished study that a test may edit."""
    return finished.copied(tmp_path / "project")


@pytest.fixture
def study() -> dict:
    return copy.deepcopy(STUDY)
