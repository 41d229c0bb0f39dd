"""Small disks of the test's own: full ones and read-only ones."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE_BYTES = 4096
ROOMY_BYTES = 256 * 2**20


class Disk:
    """A file system in memory, which can be made full or read-only while files lie on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave_free(self, free_bytes: int) -> None:
        """Shrink it, so that only so much (in whole pages) can still be written."""
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        self._remount(f"size={used + free_bytes // PAGE_BYTES * PAGE_BYTES}")

    def make_roomy(self) -> None:
        """Let it be written again."""
        self._remount(f"rw,size={ROOMY_BYTES}")

    def make_read_only(self) -> None:
        """Let nothing on it be changed."""
        self._remount("ro")

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A disk at `folder`; skips the test where none may be mounted."""
    folder.mkdir(parents=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY_BYTES}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(options, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no disk can be mounted: {error}")
    if done.returncode:
        pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", folder], check=True)
