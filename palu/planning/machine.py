"""What this machine has for a study: memory, GPUs, room on the disk. Asks no driver library."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from palu import devices
from palu.limits import usable_memory


@dataclass(frozen=True)
class Room:
    """In bytes: the memory that a process may have here, that of the largest GPU (None: none), and free disk space.

    A container or a job's control group may give less memory than the machine has.
    """

    memory: int
    gpu_memory: int | None
    free_disk: int


def room(folder: Path) -> Room:
    """Of this machine, and of the disk that `folder` is on."""
    return Room(usable_memory()[0], _gpu_memory(), shutil.disk_usage(folder).free)


def _gpu_memory() -> int | None:
    told = devices.ask("--query-gpu=memory.total", "--format=csv,noheader,nounits") or ""
    sizes = [int(line) for line in told.split() if line.isdigit()]
    return max(sizes) * 2**20 if sizes else None
