"""The subcommands that are no stage, and which stages take a GPU."""

import os
import signal
import subprocess
import sys

import pytest

from palu import cli, devices
from palu.cli.gpus import gpus_of

DRIVER = '#!/bin/sh\necho "GPU 0: Some GPU (UUID: GPU-a)"\necho "GPU 1: Some GPU (UUID: GPU-b)"\n'


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A driver's tool that lists two GPUs, and locks of this test's own."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text(DRIVER)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PALU_LEASE_DIR", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def lease(*words):
    command = [sys.executable, "-m", "palu", "lease", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("two_gpus")
def test_a_launcher_holds_its_gpus_until_it_ends():
    script = (
        "import os; from palu import devices; print(os.environ['CUDA_VISIBLE_DEVICES']); "
        "held = devices.leased(1).__enter__(); print(held); "
        "import fcntl, pathlib, sys\n"
        "for path in sorted(pathlib.Path(os.environ['PALU_LEASE_DIR']).iterdir()):\n"
        "    try: fcntl.flock(path.open(), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    except BlockingIOError: print('held', path.name)\n"
    )
    done = lease("--gpus", "2", "--", sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["GPU-a,GPU-b", "()"]
    assert lines[2:] == ["held GPU-a.lock", "held GPU-b.lock"]
    again = devices.take(2)
    assert again.devices == ("GPU-a", "GPU-b")
    again.close()


@pytest.mark.usefixtures("two_gpus")
def test_a_lease_ends_with_its_commands_status_and_a_lease_that_is_ended_ends_its_command():
    assert lease("--", "sh", "-c", "exit 3").returncode == 3
    assert lease("--", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    words = [sys.executable, "-m", "palu", "lease", "--", "sh", "-c", "echo up; exec sleep 600"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.terminate()
    # the pipe ends with the last process that has it
    assert process.communicate(timeout=60) == ("", None)
    assert process.returncode == 143
    again = devices.take(2)
    assert again.devices == ("GPU-a", "GPU-b")
    again.close()


@pytest.mark.usefixtures("two_gpus")
def test_a_lease_that_cannot_be_had_is_one_line():
    for words, line in (
        (("--gpus", "3", "--", "true"), "3 GPUs are asked for; allowed: up to 2, as can be used here"),
        ((), "lease: allowed: palu lease --gpus N -- COMMAND, with N at least 1"),
        (("--", "no-such-command"), "lease: 'no-such-command' cannot be started: No such file or directory"),
    ):
        done = lease(*words)
        assert (done.returncode, done.stderr) == (1, f"palu: error: {line}\n")


@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        (("infer", "--model", "m", "--examples", "e", "--out", "o"), 1),
        (("benchmark", "--name", "village", "--out", "o", "--gold-out", "g"), 0),
        (("tag", "--tagger", "spacy", "--examples", "e", "--out", "o"), 0),
        (("tag", "--tagger", "entropy", "--examples", "e", "--out", "o"), 1),
        (("tag", "--tagger", "classifier", "--examples", "e", "--out", "o", "--set", "checkpoint=c"), 1),
        (
            ("tag", "--tagger", "classifier", "--examples", "e", "--out", "o", "--set", "checkpoint=c", "--set",
             "device=cuda:1"),
            0,
        ),
        (("check", "study.yaml"), 0),
    ],
)  # fmt: skip
def test_a_gpu_is_taken_by_what_computes_on_one(words, gpus):
    assert gpus_of(cli.parser().parse_args(words)) == gpus


@pytest.mark.usefixtures("two_gpus")
def test_a_stage_sees_the_gpu_that_it_holds_alone(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "palu.reference.states.write_states", lambda **_: seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
    )
    held = devices.take(1)
    assert cli.main(["reference", "--model", "m", "--examples", "e", "--out", str(tmp_path / "o")]) == 0
    held.close()
    assert seen == ["GPU-b"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
