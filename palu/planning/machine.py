"""What this machine has for a study: memory, GPUs, room on the disk. Asks no driver library."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from palu import devices

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """In bytes: the memory that a process may have here, that of the largest GPU (None: none), and free disk space."""

    memory: int
    gpu_memory: int | None
    free_disk: int


def room(folder: Path) -> Room:
    """Of this machine, and of the disk that `folder` is on."""
    return Room(memory_limit(), _gpu_memory(), shutil.disk_usage(folder).free)


def memory_limit(cgroup: Path = CGROUP) -> int:
    """Bytes that this process may have: the machine's, or less where a container or a job's control group says so."""
    limits: list[int] = [psutil.virtual_memory().total]
    for folder in cgroup_folders(cgroup):
        for path in (folder / "memory.max", folder / "memory.limit_in_bytes"):
            text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
            limits += [int(text)] if text.isdecimal() else []
    return min(limits)


def cgroup_folders(root: Path, own: Path = Path("/proc/self/cgroup")) -> Iterator[Path]:
    """The folders of this process's control groups and of all above them, of both versions of the interface."""
    yield root
    for line in own.read_text(encoding="utf-8").splitlines() if own.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = root / controllers if controllers else root
        for part in ("", *Path(path.lstrip("/")).parts):
            folder = folder / part
            yield folder


def _gpu_memory() -> int | None:
    printed = devices.ask("--query-gpu=memory.total", "--format=csv,noheader,nounits") or ""
    sizes = [int(line) for line in printed.split() if line.isdigit()]
    return max(sizes) * 2**20 if sizes else None
