"""A run that fails shows the failed job's log, and counts the machine's GPUs."""

import os
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import STUDY, Project

ROOT = Path(__file__).resolve().parents[2]

DRIVER = '#!/bin/sh\necho "GPU 0: Some GPU (UUID: GPU-a)"\necho "GPU 1: Some GPU (UUID: GPU-b)"\n'


def shown() -> list[str]:
    """The option of each profile that shows failed logs."""
    for profile in (ROOT / "workflow" / "profiles").glob("*/config.yaml"):
        assert yaml.safe_load(profile.read_text())["show-failed-logs"] is True
    return ["--show-failed-logs"]


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A study whose benchmark is not there, on a machine whose driver lists two GPUs."""
    project = Project(tmp_path_factory.mktemp("failed"))
    tool = project.folder / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(DRIVER)
    tool.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return project.snakemake({**STUDY, "benchmark": {"name": "tofu", "source": "nobody/nothing"}}, *shown())


def test_a_failed_run_shows_the_log_with_its_one_line_error(failed):
    assert failed.returncode != 0
    lines = failed.stderr.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith("Logfile logs/tofu/forget05-"))
    assert lines[start].endswith("/prepare_benchmark.log:")
    assert lines[start + 2].startswith(
        "palu: error: benchmark tofu: source 'nobody/nothing' at revision 'main' is no folder here"
    )


def test_as_many_model_jobs_run_at_once_as_there_are_gpus(failed):
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("Provided resources:"))
    assert "gpu" in line
    assert "2" in line
