"""A process that ends in SIGKILL at one of its own doings on files, as the power may fail at any of them."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.training import processes

# what the interpreter tells of files before it happens
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.scandir", "os.listdir"}


def run(job: dict[str, Any], folder: Path, fatal: int | None, counted: Path | None = None) -> None:
    """`processes.run`, killed before the doing number `fatal` (0-based) in the run's own folder; None = not at all.

    counted: where the number of all such doings is written.
    """
    own, done = str(folder / job["out"]), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event in EVENTS and arguments and str(arguments[0]).startswith(own):
            if done == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(hook)
    processes.run(job, folder)
    if counted is not None:
        counted.write_text(str(done))
