"""A run that fails ends with the lines that matter, and counts the machine's GPUs."""

import os

import pytest

from tests.workflow.conftest import STUDY, Project

DRIVER = '#!/bin/sh\necho "GPU 0: Some GPU (UUID: GPU-a)"\necho "GPU 1: Some GPU (UUID: GPU-b)"\n'


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
        return project.snakemake({**STUDY, "benchmark": {"name": "tofu", "source": "nobody/nothing"}})


def test_a_failed_run_ends_with_each_log_and_its_one_line_error(failed):
    assert failed.returncode != 0
    log, error = failed.stdout.rstrip().splitlines()[-2:]
    assert log.startswith("Failed: logs/tofu/forget05-")
    assert log.endswith("/prepare_benchmark.log")
    assert error.startswith(
        "    palu: error: benchmark tofu: source 'nobody/nothing' at revision 'main' is no folder here"
    )


def test_as_many_model_jobs_run_at_once_as_there_are_gpus(failed):
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("Provided resources:"))
    assert "gpu" in line
    assert "2" in line
