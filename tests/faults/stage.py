"""A stage in a process of its own, and what befalls it there."""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import palu.cli

# Bytes that a process may still ask for when its memory is made small
LITTLE_BYTES = 4 * 2**20


def run(arguments: list[str], folder: Path, log: Path, befalls: tuple[str, int] | None) -> None:
    """`palu ARGUMENTS` in `folder`, all that it prints in `log`; the process ends with its exit status.

    befalls: (name of a signal, n) sends it before the n-th renaming (0-based) of a finished file; ("memory", _)
    leaves it little; ("file size", bytes) lets no file grow beyond.
    """
    os.chdir(folder)
    _one_thread()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    if befalls is not None:
        _prepare(*befalls)
    sys.exit(palu.cli.main(arguments))


def _one_thread() -> None:
    """As Snakemake has it for a job of one thread: another number of them rounds sums otherwise."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _prepare(kind: str, number: int) -> None:
    if kind == "memory":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + LITTLE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    elif kind == "file size":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    else:
        _send_at_renaming(signal.Signals[kind], number)


def _send_at_renaming(what: signal.Signals, number: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "os.rename" and ".partial" in str(arguments[0]):
            if seen == number:
                os.kill(os.getpid(), what)
            seen += 1

    sys.addaudithook(hook)


def count_renamings(arguments: list[str], folder: Path, log: Path, counted: Path) -> None:
    """`run` without a fault; how many finished files were renamed is written to `counted`."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += event == "os.rename" and ".partial" in str(arguments[0])

    sys.addaudithook(hook)
    try:
        run(arguments, folder, log, None)
    finally:
        counted.write_text(str(seen))
