"""A cluster of this machine's own, and a small study that was run without it."""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.cluster import Cluster, Unavailable, install, running
from tests.workflow.conftest import STUDY, Project

PROFILE = Path(__file__).resolve().parents[2] / "workflow" / "profiles" / "slurm"
# one thread for each job, as without a profile: numbers are compared bit for bit
ONE_THREAD = {"finetune_model": 1, "unlearn_model": 1, "infer_model": 1}


def small_study() -> dict[str, Any]:
    """One run of three steps an epoch, with a checkpoint after each step."""
    study = copy.deepcopy(STUDY)
    study["methods"] = {"palu": study["methods"]["palu"]}
    study["training"] |= {"batch_size": 8}
    study["machine"] = {"checkpoint_seconds": 0}
    del study["trajectory_epochs"]
    return study


class Scheduled:
    """A project whose jobs go through a cluster, with the shipped profile."""

    def __init__(self, project: Project, cluster: Cluster) -> None:
        self.project, self.cluster = project, cluster
        self.started: list[subprocess.Popen[str]] = []

    @property
    def run_folder(self) -> Path:
        """The one run's folder."""
        return next(self.project.folder.glob("results/village/*/*/palu/*/seed0"))

    def start(self, *arguments: str, **unlearning: Any) -> subprocess.Popen[str]:
        """Start Snakemake. unlearning: resources of the rule `unlearn_model` that the profile gets besides its own."""
        profile = yaml.safe_load((PROFILE / "config.yaml").read_text(encoding="utf-8"))
        profile["set-threads"] = ONE_THREAD
        profile["set-resources"]["unlearn_model"] |= unlearning
        # no accounting here, and jobs of seconds
        profile |= {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 2, "latency-wait": 5}
        folder = self.project.folder
        (folder / "profile").mkdir(exist_ok=True)
        (folder / "profile" / "config.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
        (folder / "study.yaml").write_text(yaml.safe_dump(small_study(), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profile", "--configfile", "study.yaml"]
        process = subprocess.Popen(
            [*command, "--cores", str(os.cpu_count() or 2), *arguments],
            cwd=folder,
            env=self.cluster.environment | {"PYTHONPATH": str(folder), "ACCELERATE_USE_CPU": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def stop(self) -> None:
        """End what a failed test left running."""
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        install()
    except Unavailable as error:
        pytest.skip(str(error))
    with running(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small study, run on this machine as ever. Read only."""
    project = Project(tmp_path_factory.mktemp("local"))
    done = project.snakemake(small_study())
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def unfinished(local: Project, cluster: Cluster, tmp_path: Path) -> Iterator[Scheduled]:
    """A copy of it that lacks the unlearned model and whatever follows from it."""
    scheduled = Scheduled(local.copied(tmp_path / "project"), cluster)
    shutil.rmtree(scheduled.run_folder.parent)
    yield scheduled
    scheduled.stop()


@pytest.fixture
def untouched(cluster: Cluster, tmp_path: Path) -> Iterator[Scheduled]:
    """A project of which nothing was run."""
    scheduled = Scheduled(Project(tmp_path), cluster)
    yield scheduled
    scheduled.stop()
