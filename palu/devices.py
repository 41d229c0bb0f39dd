"""The GPUs of a machine, and how jobs that run at the same time come to use different ones. Loads no torch.

nvidia-smi names the GPUs, so that a machine without them pays nothing and nothing of CUDA is started before a choice.
A lease is a lock on a file of the device. The kernel gives it back when the process ends: a file there means nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from palu.errors import UserError

if TYPE_CHECKING:
    from filelock import FileLock

# "GPU 0: NVIDIA H100 (UUID: GPU-...)", and below one that is cut: "  MIG 1g.10gb Device 0: (UUID: MIG-...)"
_DEVICE = re.compile(r"\s*(GPU|MIG)\b.*\(UUID: (\S+)\)")
# Where a scheduler or the user says which GPUs are theirs, the narrowest first
VISIBLE = "CUDA_VISIBLE_DEVICES"
ASSIGNED = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
LONGEST_ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Gpu:
    """One GPU. uuid: as the driver names it. parts: the UUIDs of the MIG devices that it is cut into, if it is."""

    uuid: str
    parts: tuple[str, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """What a job may take of it: its parts, or the whole."""
        return self.parts or (self.uuid,)


def installed() -> list[Gpu]:
    """The GPUs of this machine (in a container: those given to it), in nvidia-smi's order; empty without nvidia-smi
    or where it does not answer."""
    found = ask("-L")
    return parse(found) if found is not None else []


def ask(*arguments: str) -> str | None:
    """What nvidia-smi prints; None where there is no such tool, or it fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, *arguments], capture_output=True, text=True, timeout=LONGEST_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def parse(text: str) -> list[Gpu]:
    """The GPUs that `nvidia-smi -L` lists."""
    found: list[Gpu] = []
    for line in text.splitlines():
        match = _DEVICE.match(line)
        if match is None:
            continue
        kind, uuid = match.groups()
        if kind == "GPU":
            found.append(Gpu(uuid))
        elif found:
            found[-1] = Gpu(found[-1].uuid, (*found[-1].parts, uuid))
    return found


def usable(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> list[str]:
    """UUIDs of the devices that this process may use: all, or those that the environment names.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: numbers or (beginnings of) UUIDs with commas, up to the first that
    is none; empty or -1 = no GPU. A number counts in nvidia-smi's order. Where it is not set, SLURM's own list counts.
    """
    if VISIBLE in environment:
        return list(_named(environment[VISIBLE], gpus))
    given = next((environment[name] for name in ASSIGNED if environment.get(name)), None)
    # where the scheduler hides the others, its numbers are of a longer list than the one seen here
    if given is None or len(given.split(",")) >= len(gpus):
        return [device for gpu in gpus for device in gpu.devices]
    return list(_named(given, gpus))


def _named(text: str, gpus: Sequence[Gpu]) -> Iterable[str]:
    """The devices of a list such as `0,2` or `GPU-8932f937,MIG-...`, each once."""
    found: dict[str, None] = {}
    for name in (part.strip() for part in text.split(",")):
        devices = _devices(name, gpus)
        if not devices:
            break
        found |= dict.fromkeys(devices)
    return found


def _devices(name: str, gpus: Sequence[Gpu]) -> Sequence[str]:
    if name.isdecimal():
        return gpus[int(name)].devices if int(name) < len(gpus) else ()
    whole = [gpu for gpu in gpus if name and gpu.uuid.startswith(name)]
    if len(whole) == 1:
        return whole[0].devices
    parts = [part for gpu in gpus for part in gpu.parts if name and part.startswith(name)]
    return parts if len(parts) == 1 else ()


FOLDER = "PALU_LEASE_DIR"
# Set with CUDA_VISIBLE_DEVICES for the processes of a launcher that holds the lease
HELD = "PALU_LEASED"
WAIT_SECONDS = 1.0

Lister = Callable[[], Sequence[Gpu]]


@dataclass
class Lease:
    """Devices that are this process's own until `close`, or until it ends, however it ends."""

    devices: tuple[str, ...] = ()
    locks: "list[FileLock]" = field(default_factory=list)

    def close(self) -> None:
        """Give the devices back."""
        while self.locks:
            self.locks.pop().release()


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
    """Lock `count` GPUs, all or none at a time; a line on stderr says once that it waits.

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
    is_waiting = False
    while (lease := _try(count, devices, folder)) is None:
        if is_worker:
            raise UserError(
                f"{devices[0]} is held by another job: start several processes as "
                f"`palu lease --gpus {environment.get('LOCAL_WORLD_SIZE')} -- accelerate launch ...`, which waits"
            )
        if not is_waiting:
            print(f"palu: waiting for {count} of {len(devices)} GPUs", file=sys.stderr, flush=True)
            is_waiting = True
        time.sleep(wait_seconds)
    return lease


def job_slots(list_gpus: Lister = installed, environment: Mapping[str, str] = os.environ) -> int:
    """How many jobs may hold a GPU at once here; 0 without GPUs."""
    return len(usable(list_gpus(), environment))


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


def _try(count: int, devices: Sequence[str], folder: Path) -> Lease | None:
    """The first `count` devices that are free, or nothing at all: a process with one never waits for a second."""
    # 50 ms, which a start without GPUs need not spend
    from filelock import FileLock, Timeout

    lease = Lease()
    for device in devices:
        lock = FileLock(folder / f"{device.replace('/', '_')}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        except OSError as error:
            lease.close()
            raise _unusable(folder, error.strerror or str(error)) from error
        lease = Lease((*lease.devices, device), [*lease.locks, lock])
        if len(lease.devices) == count:
            return lease
    lease.close()
    return None
