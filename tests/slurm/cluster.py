"""A real SLURM of two nodes on this machine: munged, slurmctld and two slurmd, in a folder and at ports of their own.

    python tests/slurm/cluster.py snakemake --workflow-profile workflow/profiles/slurm --slurm-status-command squeue

runs a command beside it and takes it down again. Its programs are those of Debian's packages `slurm-wlm` and `munge`,
installed where that can be done (root, apt-get). Nodes pretend to CPUs, memory and one GPU each, so that the shipped
profile fits; nothing is confined to them: no cgroups, no accounting.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
PACKAGES = ("slurm-wlm", "munge")
NODES = ("first", "second")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

CONFIG = """\
ClusterName=palu
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# a requeued job waits until its first start's credential is void
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={controller_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
StateSaveLocation={folder}/state
# what the nodes pretend to have
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=5
# a finished job is looked at later
MinJobAge=86400
# a node that is set down stays so until it is told otherwise, and its jobs go to the other one
ReturnToService=0
KillWait=2
GresTypes=gpu
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=256000 Gres=gpu:1"


class Unavailable(Exception):
    """Why there can be no SLURM here."""


@dataclass(frozen=True)
class Cluster:
    """A running SLURM. folder: its configuration, state and logs."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What SLURM's programs are told of it, with the rest of this process's environment."""
        path = os.pathsep.join([str(self.folder / "bin"), PATH])
        return os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def ask(self, *command: str) -> str:
        """What one of SLURM's programs prints."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    @property
    def log(self) -> str:
        """The controller's log."""
        return (self.folder / "slurmctld.log").read_text(encoding="utf-8", errors="replace")


def install() -> None:
    """Install SLURM where it is missing. Raises Unavailable where that cannot be done."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(f"no {missing[0]}, and to install {' '.join(PACKAGES)} takes root and apt-get")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"apt-get {command[0]} failed: {done.stderr.strip().splitlines()[-1:]}")


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start a cluster whose files lie in `folder`, and end all of its processes afterwards, whatever happened."""
    cluster = Cluster(folder)
    _write_configuration(folder)
    with ExitStack() as stack:
        # what a job left behind when its node was said to be down outlives slurmd
        stack.callback(_end_leftovers, folder)
        munge = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket"]
        munge += [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        stack.enter_context(_daemon(cluster, "munged", munge))
        _wait("munged", (folder / "munge.socket").exists, cluster)
        stack.enter_context(_daemon(cluster, "slurmctld", ["slurmctld", "-D", "-c"]))
        for node in NODES:
            stack.enter_context(_daemon(cluster, node, ["slurmd", "-D", "-N", node]))
        stack.callback(_cancel_all, cluster)
        _wait("the nodes", lambda: idle_nodes(cluster) == len(NODES), cluster)
        yield cluster


def idle_nodes(cluster: Cluster) -> int:
    """How many nodes wait for a job; 0 while the controller does not answer."""
    with suppress(subprocess.CalledProcessError):
        return cluster.ask("sinfo", "--noheader", "--Node", "--format=%T").split().count("idle")
    return 0


def _write_configuration(folder: Path) -> None:
    # the plugin takes all but a few of SLURM's variables from a job's environment before it calls srun
    srun = folder / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun", path=PATH)} "$@"\n')
    srun.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "state").mkdir()
    host, ports = socket.gethostname(), _free_ports(1 + len(NODES))
    nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports[1:], strict=True)]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    values = {"host": host, "user": user, "folder": folder, "controller_port": ports[0], "nodes": "\n".join(nodes)}
    (folder / "slurm.conf").write_text(CONFIG.format(**values), encoding="utf-8")
    # a GPU without a device file is not counted
    (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File=/dev/null\n", encoding="utf-8")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _daemon(cluster: Cluster, name: str, command: list[str]) -> Iterator[None]:
    with (cluster.folder / f"{name}.out").open("w") as out:
        process = subprocess.Popen(command, env=cluster.environment, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(what: str, is_ready: Callable[[], bool], cluster: Cluster, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_ready():
        if time.monotonic() > end:
            logs = [
                f"{path.name}: {path.read_text(errors='replace')[-1000:]}" for path in cluster.folder.glob("*.out")
            ]
            raise Unavailable(f"{what} did not start within {seconds:g} seconds\n" + "\n".join(logs))
        time.sleep(0.2)


def _cancel_all(cluster: Cluster) -> None:
    with suppress(subprocess.SubprocessError):
        cluster.ask("scancel", "--state=PENDING")
        cluster.ask("scancel", "--state=RUNNING")
        end = time.monotonic() + 15
        while cluster.ask("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.2)


def _end_leftovers(folder: Path) -> None:
    """Kill what still runs with this cluster's configuration in its environment: nothing else has it."""
    mark = f"SLURM_CONF={folder}/slurm.conf".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)


def main(command: list[str]) -> int:
    try:
        install()
        with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running(Path(folder)) as cluster:
            return subprocess.run(command, env=cluster.environment, check=False).returncode
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
