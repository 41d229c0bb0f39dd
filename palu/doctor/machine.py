"""Cores, memory, disks and the terminal's encoding: what this process may use, not what the machine was sold with."""

import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from palu.doctor.findings import Finding
from palu.limits import usable_cores, usable_memory

GB = 10**9
LEAST_DISK_BYTES = 5 * GB
LEAST_MEMORY_BYTES = 4 * GB
# File systems of other machines, on which locks and SQLite files are slow or missing
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "glusterfs"}


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, such as ext4; "unknown" where the system does not say."""
    target = str(existing(path).resolve())
    mounts = [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    holding = [(len(where), kind) for where, kind in mounts if Path(target).is_relative_to(where)]
    return max(holding, default=(0, "unknown"))[1]


def existing(path: Path) -> Path:
    """The nearest folder on the way up from `path` that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def machine_findings() -> list[Finding]:
    """Cores, memory, and what the terminal can show."""
    cores, on_board = usable_cores(), os.cpu_count() or 1
    limit, free = usable_memory()
    encoding = locale.getpreferredencoding(False)
    is_utf8 = encoding.lower().replace("-", "") == "utf8" and "utf" in (sys.getfilesystemencoding() or "").lower()
    return [
        Finding("machine", "cores", {"usable": cores, "all": on_board}, f"{cores:g} usable of {on_board}"),
        Finding(
            "machine",
            "memory",
            {"limit_bytes": limit, "free_bytes": free},
            f"{free / GB:.1f} GB free of {limit / GB:.1f} GB",
            "little is free: end other programs, or give this job more" if free < LEAST_MEMORY_BYTES else "",
        ),
        Finding(
            "machine",
            "encoding",
            encoding,
            encoding,
            "" if is_utf8 else "names beyond ASCII may fail: set LC_ALL=C.UTF-8, or PYTHONUTF8=1",
        ),
    ]


def storage_findings(hub_cache: Path) -> list[Finding]:
    """Free space and the file system of each folder that the workflow writes into."""
    folders = {
        "results/": Path("results"),
        "data/": Path("data"),
        "hub cache": hub_cache,
        "TMPDIR": Path(tempfile.gettempdir()),
    }
    return [_storage(name, path) for name, path in folders.items()]


def _storage(name: str, path: Path) -> Finding:
    folder = existing(path)
    free, kind = shutil.disk_usage(folder).free, file_system(path)
    text = f"{free / GB:.1f} GB free, {kind} ({path})"
    value = {"path": str(path), "free_bytes": free, "file_system": kind}
    is_needed = not os.access(folder, os.W_OK)
    return Finding("storage", name, value, text, _storage_advice(folder, free, kind, is_needed), is_needed)


def _storage_advice(folder: Path, free: int, kind: str, is_closed: bool) -> str:
    advice: Sequence[str] = (
        f"{folder} cannot be written: choose another folder, or mend its permissions" if is_closed else "",
        "little space: a model of 8B parameters takes 16 GB, a checkpoint of its training 36"
        * (free < LEAST_DISK_BYTES),
        "a network file system: run on one machine at a time (Snakemake's lock), and large models read slowly"
        * (kind.removeprefix("fuse.") in NETWORK or kind == "fuse.sshfs"),
    )
    return next((part for part in advice if part), "")
