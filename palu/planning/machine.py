"""What this machine has: memory, GPUs, room on the disk. Asks no driver library."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from palu import devices


@dataclass(frozen=True)
class Room:
    """In bytes: the machine's whole memory, that of its largest GPU (None without one), and the disk's free space."""

    memory: int
    gpu_memory: int | None
    free_disk: int


def room(folder: Path) -> Room:
    """Of this machine, and of the disk that `folder` is on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Room(memory, _gpu_memory(), shutil.disk_usage(folder).free)


def _gpu_memory() -> int | None:
    told = devices.ask("--query-gpu=memory.total", "--format=csv,noheader,nounits") or ""
    sizes = [int(line) for line in told.split() if line.isdigit()]
    return max(sizes) * 2**20 if sizes else None
