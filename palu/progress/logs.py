"""The logs of jobs: which are being written now, how far each job is, and why one failed."""

import fcntl
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from palu.inert import visible

STDERR = 2
# What is read of a log's end; a longer traceback is cut at its start
TAIL_BYTES = 2**16
MOST_LINES = 10
# Of an exception's own message
MESSAGE_LINES = 4
ERROR = "palu: error: "
# Our own lines, and the bars of libraries
_PROGRESS = re.compile(r"^[^:]+: \w+ \d\S*(/\S+)?(, \S+=\S+)*, [\d:]+ so far(, \S+ left)?$|\d+%\|.*\|")
_RULE_LOG = re.compile(r"^    log: (.+) \(check log file\(s\) for error details\)$")
_JOB = re.compile(r"^    jobid: (\d+)$")
_FINISHED = re.compile(r"^Finished jobid: (\d+)\b")


def mark_running() -> None:
    """Lock the log that this process writes on stderr, if it is a file, until the process ends.

    `running` finds it by the lock, which the kernel takes back however the process ends. On a file system without
    locks nothing is marked. Bars of libraries are slowed down there, too.
    """
    if not stat.S_ISREG(os.fstat(STDERR).st_mode):
        return
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    for _ in range(5):
        try:
            fcntl.flock(STDERR, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # somebody is looking
            time.sleep(0.02)
        except OSError:
            return


def running(folder: Path) -> list[Path]:
    """The logs under `folder` that a stage is writing now, in the order of their names."""
    return sorted(path for path in folder.rglob("*.log") if _is_locked(path))


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def tail(path: Path) -> list[str]:
    """The last lines of a log that are not empty, with escape sequences as letters. A bar that went back to its line's
    start counts by its states."""
    with path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - TAIL_BYTES))
        text = handle.read().decode("utf-8", errors="replace")
    return [visible(line).rstrip() for line in re.split(r"[\r\n]", text) if line.strip()]


def last_line(path: Path) -> str:
    """The last line of a log, without the white space around it; "" for an empty one."""
    lines = tail(path)
    return lines[-1].strip() if lines else ""


def failure(path: Path) -> list[str]:
    """Why the job of this log failed, in at most ten lines: our own one-line error, or the end of the traceback, or
    the last lines that are no progress. The last progress follows where a job was ended from outside."""
    lines = tail(path)
    own = [line for line in lines if line.startswith(ERROR)]
    if own:
        return own[-1:]
    told = [line for line in lines if not _PROGRESS.search(line)]
    starts = [i for i, line in enumerate(told) if line.startswith("Traceback (most recent call last)")]
    if starts:
        return _end_of_traceback(told[starts[-1] :])
    if lines and (not told or lines[-1] != told[-1]):
        return [*told[-(MOST_LINES - 2) :], lines[-1], "(ended here without a message: killed, or out of memory?)"]
    return told[-MOST_LINES:] or ["(an empty log: interrupted, killed, or out of memory?)"]


def _end_of_traceback(lines: list[str]) -> list[str]:
    """The exception with what follows of its message, and before it the innermost calls that fit."""
    end = next((i for i, line in enumerate(lines[1:], 1) if not line.startswith(" ")), len(lines) - 1)
    return lines[: end + MESSAGE_LINES][-MOST_LINES:]


def failed_logs(snakemake_log: Path) -> list[Path]:
    """The logs of the jobs that failed in a run of Snakemake and did not succeed later, as its own log tells."""
    failed: dict[str, Path] = {}
    job = ""
    for line in snakemake_log.read_text(encoding="utf-8", errors="replace").splitlines():
        if found := _JOB.match(line):
            job = found[1]
        elif found := _RULE_LOG.match(line):
            failed[job] = Path(found[1].split(", ")[0])
        elif found := _FINISHED.match(line):
            failed.pop(found[1], None)
    return list(dict.fromkeys(failed.values()))


def failure_report(snakemake_logs: str | Sequence[str]) -> str:
    """Each failed job's log with the lines that matter; "" where no job of ours failed.

    snakemake_logs: the paths, or the one path, that Snakemake hands to `onerror`.
    """
    parts = []
    paths = [snakemake_logs] if isinstance(snakemake_logs, str) else snakemake_logs
    for path in (path for name in paths for path in failed_logs(Path(name))):
        lines = failure(path) if path.is_file() else ["(the job left no log)"]
        parts.append("\n".join([f"Failed: {path}", *(f"    {line}" for line in lines)]))
    return "\n\n".join(parts)
