"""Which logs are being written, and what of a failed job's log matters."""

import subprocess
import sys

import pytest

from palu.progress import logs

PROGRESS = [f"training: step {i}/99, loss=0.5, lr=0.1, 00:0{i} so far, 01:00 left" for i in range(1, 10)]
WEIGHTS = "\rLoading weights:  50%|█████     | 6/12\rLoading weights: 100%|██████████| 12/12 [00:00<00:00, 94it/s]"
TRACEBACK = """\
Traceback (most recent call last):
  File "early.py", line 1, in early
    early()
ValueError: the first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "main.py", line 5, in main
    deep()
  File "deep.py", line 7, in deep
    raise KeyError("tokens")
KeyError: 'tokens'
a library's last words
"""


@pytest.fixture
def log(tmp_path):
    def write(*parts):
        path = tmp_path / "job.log"
        path.write_text("\n".join(parts) + "\n", encoding="utf-8")
        return path

    return write


def test_our_own_error_is_all_that_is_shown(log):
    path = log(*PROGRESS, WEIGHTS, "palu: error: rows.parquet: no such file", "resource_tracker: leaked", *PROGRESS)
    assert logs.failure(path) == ["palu: error: rows.parquet: no such file"]


def test_of_a_traceback_the_last_one_s_end_is_shown(log):
    lines = logs.failure(log(*PROGRESS, TRACEBACK, *PROGRESS))
    assert lines[0] == "Traceback (most recent call last):"
    assert "KeyError: 'tokens'" in lines
    assert "ValueError: the first" not in lines
    assert len(lines) <= 10


def test_a_long_traceback_is_cut_to_ten_lines_with_its_exception(log):
    calls = [line for i in range(40) for line in (f'  File "a.py", line {i}', "    call()")]
    lines = logs.failure(log("Traceback (most recent call last):", *calls, "RuntimeError: deep down"))
    assert len(lines) == 10
    assert lines[-1] == "RuntimeError: deep down"


def test_a_job_that_was_killed_shows_how_far_it_was(log):
    lines = logs.failure(log("a warning", WEIGHTS, *PROGRESS))
    assert lines == ["a warning", PROGRESS[-1], "(ended here without a message: killed, or out of memory?)"]


def test_an_empty_log_says_so(tmp_path):
    (tmp_path / "job.log").write_text("")
    assert logs.failure(tmp_path / "job.log") == ["(an empty log: interrupted, killed, or out of memory?)"]


def test_a_job_that_succeeded_in_its_second_attempt_has_not_failed(tmp_path):
    told = ["Error in rule a:", "    jobid: 3", "    log: logs/a.log (check log file(s) for error details)",
            "Error in rule b:", "    jobid: 4", "    log: logs/b.log (check log file(s) for error details)",
            "Trying to restart job 3.", "Finished jobid: 3 (Rule: a)"]  # fmt: skip
    (tmp_path / "snakemake.log").write_text("\n".join(told))
    report = logs.failure_report([str(tmp_path / "snakemake.log")])
    assert report == "Failed: logs/b.log\n    (the job left no log)"


def test_a_log_is_running_as_long_as_its_process_lives(tmp_path):
    path = tmp_path / "study" / "unlearn.log"
    path.parent.mkdir()
    script = "from palu.progress.logs import mark_running; mark_running(); print(flush=True); input()"
    with path.open("w") as handle:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": handle}
        process = subprocess.Popen([sys.executable, "-c", script], text=True, **pipes)
    (tmp_path / "old.log").write_text("done\n")
    process.stdout.readline()
    assert logs.running(tmp_path) == [path]
    process.kill()
    process.communicate()
    assert logs.running(tmp_path) == []
