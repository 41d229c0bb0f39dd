"""`palu watch`: how far each running job is, one line a job, in one terminal."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

from palu.errors import UserError
from palu.progress.logs import last_line, running

REFRESH_SECONDS = 1.0
SILENT = "(no line yet)"


def watch(folder: Path, command: Sequence[str] = (), is_once: bool = False) -> int:
    """Show the running jobs whose logs lie under `folder` until Ctrl-C, or until `command`, which is run meanwhile
    and whose output stands above, ends; its exit status.

    In a terminal the lines are refreshed in place; elsewhere each changed line is printed. Raises UserError for a
    command that cannot be started.
    """
    if is_once:
        print("\n".join(job_lines(folder)) or f"{folder}: no job is running")
        return 0
    process = _started(command) if command else None
    if process and threading.current_thread() is threading.main_thread():
        # who ends the view from outside ends the command: Ctrl-C reaches both by itself
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        show = _show_in_place if sys.stdout.isatty() else _show_changes
        show(folder, process)
    except KeyboardInterrupt:
        # the terminal has told the command too: it ends its own jobs
        return process.wait() if process else 0
    return process.wait() if process else 0


def job_lines(folder: Path) -> list[str]:
    """One line for each running job: its log under `folder`, and the last line of that."""
    paths = running(folder)
    names = _short_names([path.relative_to(folder).with_suffix("") for path in paths])
    return [f"{name}  {_last(path)}" for name, path in zip(names, paths, strict=True)]


def _last(path: Path) -> str:
    try:
        return last_line(path) or SILENT
    except FileNotFoundError:
        return SILENT


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without the folders that all of them share."""
    if len(paths) < 2:
        return [path.name for path in paths]
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    return [str(path.relative_to(shared)) for path in paths]


def _started(command: Sequence[str]) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        raise UserError(f"watch: {command[0]!r} cannot be started: {error.strerror}") from None


def _pump(stream: Iterable[str] | IO[str], write: Callable[[str], None]) -> threading.Thread:
    def copy() -> None:
        for line in stream:
            write(line.rstrip("\n"))

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread


def _show_in_place(folder: Path, process: "subprocess.Popen[str] | None") -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)

    def view() -> Text:
        lines = job_lines(folder) or ([] if process else [f"{folder}: no job is running (Ctrl-C ends)"])
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    with Live(view(), console=console, auto_refresh=False, transient=True) as live:
        _follow(process, lambda line: console.print(Text.from_ansi(line)), lambda: live.update(view(), refresh=True))


def _show_changes(folder: Path, process: "subprocess.Popen[str] | None") -> None:
    shown: set[str] = set()

    def show() -> None:
        lines = job_lines(folder)
        for line in lines:
            if line not in shown:
                print(line, flush=True)
        shown.clear()
        shown.update(lines)

    _follow(process, lambda line: print(line, flush=True), show)


def _follow(process: "subprocess.Popen[str] | None", write: Callable[[str], None], show: Callable[[], None]) -> None:
    """Show the jobs every second until the command has ended and all of its output is written."""
    pump = _pump(process.stdout or (), write) if process else None
    while pump is None or pump.is_alive():
        show()
        if pump is None:
            time.sleep(REFRESH_SECONDS)
        else:
            pump.join(REFRESH_SECONDS)
