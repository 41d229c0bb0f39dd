"""One line for each running job, and the command's own output and status."""

import signal
import subprocess
import sys
from fcntl import LOCK_EX, flock

import pytest

from palu import cli
from palu.progress.watch import job_lines, watch


@pytest.fixture
def jobs(tmp_path):
    """Two logs that are being written and one that is not."""
    handles = []
    for name, text in (
        ("village/palu.log", "training: step 2/9\n"),
        ("village/npo/seed0.log", ""),
        ("village/old.log", "x\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if "old" not in name:
            handles.append(path.open("ab"))
            flock(handles[-1], LOCK_EX)
    yield tmp_path
    for handle in handles:
        handle.close()


def test_each_running_job_has_a_line(jobs):
    assert job_lines(jobs) == ["npo/seed0  (no line yet)", "palu  training: step 2/9"]


def test_the_lines_are_printed_once_on_demand(jobs, tmp_path, capsys):
    assert cli.main(["watch", "--once", "--logs", str(jobs)]) == 0
    assert capsys.readouterr().out == "npo/seed0  (no line yet)\npalu  training: step 2/9\n"
    assert cli.main(["watch", "--once", "--logs", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'none'}: no job is running\n"


def test_a_commands_output_and_status_pass_through(jobs, capsys):
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert watch(jobs, [sys.executable, "-c", script]) == 3
    assert {"out", "err", "palu  training: step 2/9"} <= set(capsys.readouterr().out.splitlines())


def test_a_command_that_is_not_there_is_one_line(capsys):
    assert cli.main(["watch", "--", "no-such-command"]) == 1
    expected = "palu: error: watch: 'no-such-command' cannot be started: No such file or directory\n"
    assert capsys.readouterr().err == expected


def test_a_view_that_is_ended_from_outside_ends_its_command(tmp_path):
    words = [
        sys.executable,
        "-m",
        "palu",
        "watch",
        "--logs",
        str(tmp_path),
        "--",
        "sh",
        "-c",
        "echo up; exec sleep 600",
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.wait() == -signal.SIGTERM % 256
