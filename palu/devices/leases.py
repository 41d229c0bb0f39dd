"""Jobs that run side by side on one machine take different GPUs.

A lease is a lock (flock) on a file of the device. The kernel gives it back when the process ends, however it ends, so
a file that lies there says nothing and is never removed.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from palu.devices.listing import VISIBLE, Gpu, installed, lock_names, usable
from palu.errors import UserError

FOLDER = "PALU_LEASE_DIR"
JOBS_PER_GPU = "PALU_JOBS_PER_GPU"
# Set beside CUDA_VISIBLE_DEVICES for the processes of a launcher that holds the lease
HELD = "PALU_LEASED"
WAIT_SECONDS = 1.0

Lister = Callable[[], Sequence[Gpu]]


@dataclass
class Lease:
    """Devices that are this process's own until `close`. handles: the open lock files."""

    devices: tuple[str, ...] = ()
    handles: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Give the devices back."""
        while self.handles:
            os.close(self.handles.pop())


@contextmanager
def leased(
    count: int, list_gpus: Lister = installed, environment: MutableMapping[str, str] = os.environ
) -> Iterator[tuple[str, ...]]:
    """Hold `count` GPUs while the block runs, and let CUDA see these alone; wait while others hold them.

    Call it before CUDA is started. Nothing is held where `count` is 0, where no GPU may be used, and in a process
    whose launcher holds them (`palu lease`). A process that a launcher without a lease started (LOCAL_WORLD_SIZE > 1)
    holds the GPU of its LOCAL_RANK.
    Raises UserError as `take` does.
    """
    if not count or environment.get(HELD):
        yield ()
        return
    before = environment.get(VISIBLE)
    lease = take(count, list_gpus, environment)
    try:
        if lease.devices and not _is_worker(environment):
            environment[VISIBLE] = ",".join(lease.devices)
        yield lease.devices
    finally:
        lease.close()
        if before is None:
            environment.pop(VISIBLE, None)
        else:
            environment[VISIBLE] = before


def take(
    count: int,
    list_gpus: Lister = installed,
    environment: Mapping[str, str] = os.environ,
    wait_seconds: float = WAIT_SECONDS,
) -> Lease:
    """Lock `count` GPUs, all or none at a time; a line on stderr says once that it waits, and for whom.

    Where no GPU may be used the lease is empty: stages then run on the CPU.
    Raises UserError when fewer GPUs may be used than are asked for, when the folder of the locks cannot be used, and
    in a process of a launcher whose GPU another job holds: to wait there would let two launchers wait for each other.
    """
    devices = usable(list_gpus(), environment)
    if not devices:
        return Lease()
    is_worker = _is_worker(environment)
    if is_worker:
        rank = int(environment.get("LOCAL_RANK", "0"))
        count, devices = 1, devices[rank : rank + 1]
    if count > len(devices):
        shown = environment.get(VISIBLE)
        limit = f" ({VISIBLE}={shown})" if shown is not None else ""
        raise UserError(f"{count} GPUs are asked for; allowed: up to {len(devices)}, as can be used here{limit}")
    folder = _folder(environment)
    places = lock_names(devices, jobs_per_gpu(environment))
    has_told = False
    while (lease := _try(count, places, folder)) is None:
        if is_worker:
            raise UserError(
                f"{_holders(places, folder)}: start several processes as "
                f"`palu lease --gpus {environment.get('LOCAL_WORLD_SIZE')} -- accelerate launch ...`, which waits"
            )
        if not has_told:
            what = "a GPU" if count == 1 else f"{count} of {len(devices)} GPUs"
            print(f"palu: waiting for {what}: {_holders(places, folder)}", file=sys.stderr, flush=True)
            has_told = True
        time.sleep(wait_seconds)
    return lease


def job_slots(list_gpus: Lister = installed, environment: Mapping[str, str] = os.environ) -> int:
    """How many jobs may hold a GPU at once here; 0 without GPUs."""
    return len(usable(list_gpus(), environment)) * jobs_per_gpu(environment)


def jobs_per_gpu(environment: Mapping[str, str]) -> int:
    """How many jobs share a GPU: 1, or what the variable says. Raises UserError for another value than a count."""
    text = environment.get(JOBS_PER_GPU, "1")
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{JOBS_PER_GPU}: {text!r} is no number of jobs; allowed: 1, 2, 3...")
    return int(text)


def _is_worker(environment: Mapping[str, str]) -> bool:
    return int(environment.get("LOCAL_WORLD_SIZE") or 1) > 1


def _folder(environment: Mapping[str, str]) -> Path:
    """The folder of the locks: the same for every job of the user, whatever session or TMPDIR it runs in."""
    own = Path(f"/tmp/palu-{os.getuid()}")
    folder = Path(environment.get(FOLDER) or own)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_strange = folder == own and (folder.is_symlink() or folder.stat().st_uid != os.getuid())
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error
    if is_strange:
        raise _unusable(folder, "it belongs to another user")
    return folder


def _unusable(folder: Path, reason: str) -> UserError:
    return UserError(f"{folder}: cannot hold the locks of GPUs: {reason}; allowed: set {FOLDER} to a folder of yours")


def _try(count: int, places: Sequence[tuple[str, str]], folder: Path) -> Lease | None:
    """The first `count` devices with a free place, or nothing at all: who holds one never waits for a second."""
    held: dict[str, int] = {}
    for device, name in places:
        if device not in held and (handle := _lock(folder / name)) is not None:
            held[device] = handle
        if len(held) == count:
            return Lease(tuple(held), list(held.values()))
    Lease(handles=list(held.values())).close()
    return None


def _lock(path: Path) -> int | None:
    """The open file when its lock was free; it then names this process, for those who wait."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise _unusable(path.parent, error.strerror or str(error)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        raise _unusable(path.parent, error.strerror or str(error)) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _holders(places: Sequence[tuple[str, str]], folder: Path) -> str:
    """Who holds the devices, as the lock files say, such as `GPU-8932f937 is held by process 4711`."""
    found = []
    for device, name in places:
        try:
            process = (folder / name).read_text(encoding="utf-8").strip() or "unknown"
        except OSError:
            process = "unknown"
        found.append(f"{device[:12]} is held by process {process}")
    return ", ".join(found)
