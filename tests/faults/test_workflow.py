"""A run of Snakemake that something ends goes on when it is started again, and gives the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.faults import SAME
from tests.faults.study import STUDY, Job
from tests.faults.table import Table
from tests.faults.world import World
from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow
WORKFLOW = "workflow"
PATIENCE_SECONDS = 300


@pytest.fixture
def job(world: World) -> Job:
    """The job that is disturbed: long enough to be met while it runs."""
    return world.job("unlearn")


@pytest.fixture
def project(world: World, job: Job, tmp_path: Path) -> Project:
    """The study before that job ran."""
    clone = Project.at(world.folder).copied(tmp_path / "project")
    shutil.rmtree(clone.folder / Path(job.outputs[0]).parent)
    return clone


def run(project: Project, job: Job, *options: str) -> subprocess.CompletedProcess:
    return project.snakemake(STUDY, *options, "--", job.outputs[0])


def assert_same(world: World, project: Project, job: Job, done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.left(job, project.folder)[0] == len(job.outputs)


@contextmanager
def running(project: Project, job: Job) -> Iterator[tuple[subprocess.Popen, psutil.Process]]:
    """Snakemake, in a process group of its own as in a terminal, and the process of its job."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "study.yaml", "--", job.outputs[0]]
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=os.environ | {"PYTHONPATH": str(project.folder)},
        stdout=(project.folder / "said").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process, until(lambda: stage_of(process))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def stage_of(process: subprocess.Popen) -> psutil.Process | None:
    """The process of the job, once it has its log."""
    assert process.poll() is None
    for child in psutil.Process(process.pid).children(recursive=True):
        # it may be gone by now, or be another program
        with suppress(psutil.Error):
            if "palu" in child.cmdline()[:4] and child.name().startswith("python"):
                return child
    return None


def until(found: Callable[[], psutil.Process | None]) -> psutil.Process:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process := found():
            return process
        time.sleep(0.01)
    raise AssertionError("the job did not start")


def test_ctrl_c_in_the_terminal(world: World, table: Table, project: Project, job: Job) -> None:
    with running(project, job) as (snakemake, _):
        os.killpg(snakemake.pid, signal.SIGINT)
        assert snakemake.wait(PATIENCE_SECONDS) != 0
    assert world.left(job, project.folder)[0] == 0
    assert_same(world, project, job, run(project, job))
    table.add(WORKFLOW, "Ctrl-C to Snakemake", "the job ends with it; no output is there", SAME)


def test_a_job_that_is_killed_while_snakemake_lives(world: World, table: Table, project: Project, job: Job) -> None:
    with running(project, job) as (snakemake, stage):
        stage.kill()
        assert snakemake.wait(PATIENCE_SECONDS) != 0
    said = (project.folder / "said").read_text()
    assert "(check log file(s) for error details)" in said
    assert_same(world, project, job, run(project, job))
    table.add(WORKFLOW, "a job killed, as for want of memory", "the run ends, and names the job's log", SAME)


def test_snakemake_killed_with_its_jobs(world: World, table: Table, project: Project, job: Job) -> None:
    with running(project, job) as (snakemake, _):
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait(PATIENCE_SECONDS)
    refused = run(project, job)
    assert refused.returncode != 0
    assert "It can be removed with the --unlock argument" in refused.stdout + refused.stderr
    unlocked = run(project, job, "--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    assert_same(world, project, job, run(project, job, "--rerun-incomplete"))
    table.add(
        WORKFLOW,
        "kill -9 of Snakemake and its jobs",
        "the folder stays locked: `snakemake --unlock`, then the same command with `--rerun-incomplete`",
        SAME,
    )


def test_a_second_snakemake_on_the_same_folder(world: World, table: Table, project: Project, job: Job) -> None:
    with running(project, job) as (snakemake, _):
        second = run(project, job)
        assert snakemake.wait(PATIENCE_SECONDS) == 0
    said = second.stdout + second.stderr
    assert second.returncode != 0
    assert "Directory cannot be locked" in said
    assert "Traceback" not in said
    assert_same(world, project, job, run(project, job))
    table.add(
        WORKFLOW,
        "a second Snakemake on the same files",
        "it ends with `Directory cannot be locked`; the first goes on",
        SAME,
    )
