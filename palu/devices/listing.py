"""Which GPUs there are, and which of them this process may use.

nvidia-smi names them, so that a machine without GPUs pays nothing and nothing of CUDA is started before a choice.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


def lock_names(devices: Sequence[str], jobs_per_gpu: int) -> list[tuple[str, str]]:
    """(device, file name) of every place for a job, the first place of each device before any second one."""
    return [
        (device, f"{device.replace('/', '_')}.{place}.lock") for place in range(jobs_per_gpu) for device in devices
    ]
