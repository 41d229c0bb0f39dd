"""A study that nothing disturbed, and copies of it for what goes wrong."""

import json
import multiprocessing
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palu import tables
from palu.cli import ERROR
from tests.faults import programs
from tests.faults.study import STAGES, STUDY, Job, jobs_of
from tests.workflow.conftest import Project

# What tells how long something took, or whether it was interrupted
VOLATILE = {"seconds", "step_seconds", "resumed_from_step"}
# Snakemake notes in a folder when it was made
SNAKEMAKES_OWN = ".snakemake_timestamp"


@dataclass(frozen=True)
class End:
    """How a stage's process ended. status: its exit status, the negative number of a signal. log: all that it said."""

    status: int
    log: str

    @property
    def line(self) -> str:
        """The one line of an error that a user can mend. Fails where there is anything but such a line."""
        told = [line for line in self.log.splitlines() if line.startswith(ERROR)]
        assert self.status == 1, f"status {self.status}: {self.log}"
        assert len(told) == 1, self.log
        assert "Traceback" not in self.log, self.log
        return told[0].removeprefix(ERROR)


class World:
    """The finished study, whose stages run when something needs what they write."""

    def __init__(self, folder: Path, with_models: bool) -> None:
        """with_models: whether stages that load a model will run, whose libraries take long to load."""
        self.folder, self._logs = folder / "study", folder / "logs"
        self.folder.mkdir()
        self._logs.mkdir()
        self.project = Project(self.folder)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.libraries" if with_models else "tests.faults.stage"])
        self._context = context
        self._started = 0
        if with_models:
            self.in_process("write_given_models", self.folder)
        shutil.copytree(Path(__file__).parents[2] / "data", self.folder / "data", ignore=_all_but_text)
        # with a resource set on the command line, the plan prints a job's facts instead of its message
        plan = self.project.snakemake(
            STUDY, "--dry-run", "--forceall", "--printshellcmds", "--set-resources", "draw_alternates:mem_mb=1"
        )
        assert plan.returncode == 0, plan.stdout + plan.stderr
        self.jobs = jobs_of(plan.stdout + plan.stderr)
        self._maker = {name: job for job in self.jobs for name in job.outputs}
        self.renamings: dict[Job, int] = {}

    def in_process(self, name: str, *arguments: Any) -> int:
        """A function of `stage` or `given` in a process of its own; the process's exit status."""
        process = self._context.Process(target=programs.call, args=(name, *arguments))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def job(self, stage: str) -> Job:
        """The job that stands for a stage, with all that it reads made."""
        rule, part = STAGES[stage]
        job = next(job for job in self.jobs if job.rule == rule and any(part in name for name in job.outputs))
        for name in job.inputs:
            self._make(name)
        self._make(job.outputs[0])
        return job

    def _make(self, name: str) -> None:
        job = self._maker.get(name)
        if job is None or all((self.folder / output).exists() for output in job.outputs):
            return
        for needed in job.inputs:
            self._make(needed)
        if not job.arguments:
            done = self.project.snakemake(STUDY, "--", job.outputs[0])
            assert done.returncode == 0, done.stderr
            return
        counted = self._logs / "counted"
        log = self._logs / "undisturbed"
        status = self.in_process("count_renamings", list(job.arguments), self.folder, log, counted)
        assert status == 0, log.read_text()
        self.renamings[job] = int(counted.read_text())

    def run(self, job: Job, folder: Path, befalls: tuple[str, int] | None = None) -> End:
        """The job once more, in a copy of the study."""
        self._started += 1
        log = self._logs / str(self._started)
        status = self.in_process("run", list(job.arguments), folder, log, befalls)
        return End(status, log.read_text())

    def copy_for(self, job: Job, folder: Path) -> Path:
        """`folder` with what the job reads, before it ran."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in job.inputs:
            _copy(self.folder / name, folder / name)
        return folder

    def left(self, job: Job, folder: Path) -> tuple[int, int]:
        """How many outputs have their names by now, each of which must be what it is without a fault, and how many
        hidden partial files there are."""
        there = [name for name in job.outputs if (folder / name).exists()]
        for name in there:
            assert contents(folder / name) == contents(self.folder / name), name
        return len(there), len(partials(folder))

    def assert_finished(self, job: Job, folder: Path) -> None:
        """All outputs are there, as without a fault, and nothing else is."""
        assert self.left(job, folder) == (len(job.outputs), 0)


def _all_but_text(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".txt")]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def partials(folder: Path) -> list[Path]:
    """Files and folders that are being written, or were when their writer was killed."""
    return [path for path in folder.rglob("*.partial") if not any(p.name.endswith(".partial") for p in path.parents)]


def contents(path: Path) -> dict[str, Any]:
    """What a file, or each file of a folder, holds, without what no two runs share."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {file.name: _content(file) for file in files if file.name != SNAKEMAKES_OWN}


def _content(file: Path) -> Any:
    if file.name == "steps.parquet":
        # as text, where NaN equals itself
        return repr(tables.read(file, "steps").drop_columns("seconds").to_pylist())
    if file.suffix == ".json":
        with suppress(ValueError, AttributeError):
            return {key: value for key, value in json.loads(file.read_bytes()).items() if key not in VOLATILE}
    return file.read_bytes()
