"""What of this machine's cores and memory this process may use: a container or a job's control group may give less."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> float:
    """Cores that this process may keep busy: those that it is bound to, or less where a control group says so."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(bound)]
    for folder in cgroup_folders(cgroup):
        quota = _words(folder / "cpu.max") or [
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and quota[0].isdecimal():
            limits.append(int(quota[0]) / int(quota[1]))
    return min(limits)


def usable_memory(cgroup: Path = CGROUP) -> tuple[int, int]:
    """(limit, free) in bytes: of the machine, or of the control group where that leaves less."""
    memory = psutil.virtual_memory()
    limit, free = memory.total, memory.available
    for folder in cgroup_folders(cgroup):
        for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            found = [words[0] for name in (most, used) if (words := _words(folder / name)) and words[0].isdecimal()]
            if len(found) == 2:
                limit = min(limit, int(found[0]))
                free = min(free, max(0, int(found[0]) - int(found[1])))
    return limit, free


def cgroup_folders(root: Path, own: Path = Path("/proc/self/cgroup")) -> Iterator[Path]:
    """The folders of this process's control groups and of all above them, of both versions of the interface."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    yield root
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",") if controllers else []
        if names and not {"cpu", "memory"} & set(names):
            continue
        folder = root / controllers if names else root
        for part in ("", *Path(path.lstrip("/")).parts):
            folder = folder / part
            yield folder


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
