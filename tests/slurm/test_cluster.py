"""Jobs of a real SLURM: the same numbers as without it, and trainings that go on after it killed them."""

import re
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from palu import tables
from palu.files import read_json
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import Scheduled
from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow

HALTING = Path(__file__).with_name("halting.py")
DDP = Path(__file__).resolve().parents[2] / "config" / "accelerate" / "ddp.yaml"


def finish(running: subprocess.Popen[str], seconds: float = 1800) -> str:
    """What a Snakemake printed that ends well."""
    printed, _ = running.communicate(timeout=seconds)
    assert running.returncode == 0, printed
    return printed


def submitted(printed: str) -> list[str]:
    """The numbers of the jobs that Snakemake sent."""
    return re.findall(r"has been submitted with SLURM jobid (\d+)", printed)


def wait_for(marker: Path, running: subprocess.Popen[str], seconds: float = 600) -> str:
    """The number of the SLURM job that wrote the marker."""
    end = time.monotonic() + seconds
    while not marker.exists():
        assert running.poll() is None, finish(running)
        assert time.monotonic() < end, f"no {marker} within {seconds:g} seconds"
        time.sleep(0.2)
    return marker.read_text(encoding="utf-8")


def state(cluster: Cluster, job: str) -> str:
    return cluster.ask("squeue", "--states=all", "--noheader", "--format=%T", "--jobs", job).strip()


def same_run(first: Path, second: Path) -> None:
    """All steps and all weights are equal to the last bit."""
    steps = [
        tables.read(out / "steps.parquet", "steps").drop_columns("seconds").to_pylist() for out in (first, second)
    ]
    assert repr(steps[0]) == repr(steps[1])
    assert (first / "model/model.safetensors").read_bytes() == (second / "model/model.safetensors").read_bytes()


def local_run(local: Project) -> Path:
    return next(local.folder.glob("results/village/*/*/palu/*/seed0"))


def run_record(local: Project) -> str:
    """The file to ask for where only the training is to be run: one job."""
    return str(local_run(local).relative_to(local.folder) / "run.json")


def test_a_study_through_the_scheduler_ends_in_the_numbers_of_a_local_run(
    untouched: Scheduled, local: Project
) -> None:
    cluster = untouched.cluster
    jobs = submitted(finish(untouched.start()))
    assert len(jobs) == len(set(jobs)) == 14, "all but `all` and describe_study, which run where Snakemake does"
    for job in jobs:
        assert f"_slurm_rpc_submit_batch_job: JobId={job} " in cluster.log
        assert f"_job_complete: JobId={job} done" in cluster.log
        assert state(cluster, job) == "COMPLETED"
    told = [cluster.ask("scontrol", "show", "job", job) for job in jobs]
    training = next(text for text in told if "Comment=rule_unlearn_model" in text)
    # 64000 MB, as SLURM prints them
    for asked in ("TresPerJob=gres:gpu:1", "TimeLimit=12:00:00", "MinMemoryNode=62.50G"):
        assert asked in training
    scoring = next(text for text in told if "Comment=rule_score_model" in text)
    assert "gres:gpu" not in scoring
    names = sorted(path.relative_to(local.folder) for path in local.folder.glob("results/**/summary.json"))
    assert len(names) == 3
    for name in names:
        assert read_json(untouched.project.folder / name) == read_json(local.folder / name)
    same_run(local_run(local), untouched.run_folder)


def test_a_cancelled_training_is_sent_again_and_goes_on(unfinished: Scheduled, local: Project, tmp_path: Path) -> None:
    marker = tmp_path / "halted"
    running = unfinished.start(run_record(local), launch=f"python {HALTING} {marker}")
    killed = wait_for(marker, running)
    unfinished.cluster.ask("scancel", killed)
    jobs = submitted(finish(running))
    assert jobs[0] == killed
    assert [state(unfinished.cluster, job) for job in jobs] == ["CANCELLED", "COMPLETED"]
    resumed_and_equal(unfinished, local)


def test_a_training_that_ran_out_of_time_is_sent_again_and_goes_on(
    unfinished: Scheduled, local: Project, tmp_path: Path
) -> None:
    marker = tmp_path / "halted"
    running = unfinished.start(run_record(local), launch=f"python {HALTING} {marker}")
    killed = wait_for(marker, running)
    # a slow machine may take longer than the shortest limit, a minute, to come this far
    unfinished.cluster.ask("scontrol", "update", f"jobid={killed}", "timelimit=1")
    jobs = submitted(finish(running))
    assert jobs[0] == killed
    assert [state(unfinished.cluster, job) for job in jobs] == ["TIMEOUT", "COMPLETED"]
    assert f"Time limit exhausted for JobId={killed}" in unfinished.cluster.log
    resumed_and_equal(unfinished, local)


def test_a_training_whose_node_goes_down_is_queued_again_and_goes_on(
    unfinished: Scheduled, local: Project, tmp_path: Path
) -> None:
    marker, cluster = tmp_path / "halted", unfinished.cluster
    running = unfinished.start(run_record(local), launch=f"python {HALTING} {marker}")
    job = wait_for(marker, running)
    node = cluster.ask("squeue", "--noheader", "--format=%N", "--jobs", job).strip()
    cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        assert submitted(finish(running)) == [job], "it keeps its number"
    finally:
        cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    told = cluster.ask("scontrol", "show", "job", job)
    assert "JobState=COMPLETED" in told
    assert "Restarts=1" in told
    assert f"BatchHost={node}" not in told, "the other node took it"
    resumed_and_equal(unfinished, local)


def resumed_and_equal(unfinished: Scheduled, local: Project) -> None:
    record = read_json(unfinished.run_folder / "run.json")
    assert record["resumed_from_step"] == 1
    assert record["steps"] > 1
    same_run(local_run(local), unfinished.run_folder)


def test_a_training_on_two_nodes_ends_where_one_process_does(unfinished: Scheduled, local: Project) -> None:
    launch = "srun --nodes=2 --ntasks-per-node=1 bash workflow/profiles/slurm/each_node.sh"
    running = unfinished.start(
        run_record(local),
        launch=f"{launch} --config_file {DDP} --num_processes 2",
        mpi="srun",
        nodes=2,
        tasks=2,
        tasks_per_gpu=0,
        gpu=0,
        gres="gpu:1",
    )
    (job,) = submitted(finish(running))
    told = unfinished.cluster.ask("scontrol", "show", "job", job)
    assert "NumNodes=2" in told
    assert "NodeList=first,second" in told
    one, two = local_run(local), unfinished.run_folder
    assert read_json(two / "run.json")["processes"] == 2
    weights = [load_file(out / "model" / "model.safetensors") for out in (one, two)]
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=0, atol=1e-6)
