"""Killed at any moment, as often as it likes, a run ends in the same bytes as one that nothing disturbed."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from palu import methods, tables
from palu.files import read_json
from palu.training.log import StepLog
from tests.training import kills
from tests.training import processes as program

Start = Callable[..., Any]


@pytest.fixture(scope="module")
def start() -> Start:
    """Starts `kills.run` in a process of its own; the libraries are loaded once, in the process that all fork from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.kills"])

    def started(*arguments: Any) -> Any:
        process = context.Process(target=kills.run, args=arguments)
        process.start()
        return process

    return started


@pytest.fixture(scope="module")
def job(world: Any) -> dict[str, Any]:
    """Five forget rows in steps of two, two epochs: six steps, a checkpoint after each.

    The retain weight of PDU is a variable of its own, which each step moves.
    """
    return {
        "method": "pdu",
        "own": {"dual_warmup_epochs": 0, "retain_weight": 1.0},
        "training": {"batch_size": 2, "epochs": 2, "learning_rate": 1e-3, "warmup_epochs": 0.5},
        "keep_epochs": [1],
        "machine": {"checkpoint_seconds": 0},
        "inputs": program.as_json(world.inputs()),
        "out": "run",
    }


@pytest.fixture(scope="module")
def undisturbed(start: Start, job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The finished run that nothing disturbed, and how much it did in its folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(job, folder, None, folder / "count")
    process.join()
    assert process.exitcode == 0
    return folder / "run", int((folder / "count").read_text())


def same_bytes(first: Path, second: Path) -> None:
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert len([name for name in names if name.name == "model.safetensors"]) == 2
    for name in names:
        if name.name not in {"run.json", "steps.parquet"}:
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
    # they tell how long each step took; as text, where NaN equals itself
    rows = [tables.read(out / "steps.parquet", "steps").drop_columns("seconds").to_pylist() for out in (first, second)]
    assert repr(rows[0]) == repr(rows[1])


def test_the_runs_weights_are_variables(undisturbed: tuple[Path, int], job: dict[str, Any]) -> None:
    out, count = undisturbed
    rows = StepLog.read(out / "steps.parquet").rows
    terms = {term: [row["value"] for row in rows if row["term"] == term] for term in ("loss", "forget", "retain")}
    weights = [(loss - forget) / retain for loss, forget, retain in zip(*(terms[term] for term in terms), strict=True)]
    settings = methods.load("pdu").Settings.parse(job["own"], "job")
    means = {term: terms[term][0] for term in ("forget", "retain")}
    assert weights[0] == pytest.approx(1.0)
    assert weights[1] == pytest.approx(settings.next_weights(settings.weights, means, 1 / 3)["retain"])
    assert len({round(weight, 3) for weight in weights}) == 6
    assert count > 100


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_again_and_again_ends_in_the_same_bytes(
    undisturbed: tuple[Path, int], start: Start, job: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    whole, count = undisturbed
    drawn = random.Random(seed)
    killed = 0
    # not too late at first, so that there is something left to be killed
    for limit in (count // 3, count // 3, count // 3, count):
        process = start(job, tmp_path, drawn.randrange(limit))
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode in {-signal.SIGKILL, 0}
    assert killed >= 3
    process = start(job, tmp_path, None)
    process.join()
    assert process.exitcode == 0
    same_bytes(whole, tmp_path / "run")


@pytest.mark.parametrize("before_the_end", [2, 9, 16, 23, 30])
def test_a_run_killed_while_it_hands_over_its_results_leaves_no_litter(
    undisturbed: tuple[Path, int], start: Start, job: dict[str, Any], tmp_path: Path, before_the_end: int
) -> None:
    whole, count = undisturbed
    process = start(job, tmp_path, count - before_the_end)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process = start(job, tmp_path, None)
    process.join()
    assert process.exitcode == 0
    same_bytes(whole, tmp_path / "run")


@pytest.mark.parametrize("moment", ["a checkpoint is being written", "a step is being taken"])
def test_a_run_killed_from_outside_ends_in_the_same_bytes(
    undisturbed: tuple[Path, int], start: Start, job: dict[str, Any], tmp_path: Path, moment: str
) -> None:
    folder = tmp_path / "run" / ".checkpoint"
    step = random.Random(moment).randrange(1, 6)
    process = start(job, tmp_path, None)
    deadline = time.monotonic() + 120
    while not (folder / f"step{step:08d}").is_dir():
        assert process.is_alive()
        assert time.monotonic() < deadline
    if moment == "a checkpoint is being written":
        while not (folder / ".partial").is_dir():
            assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "run" / "run.json").exists()
    process = start(job, tmp_path, None)
    process.join()
    assert process.exitcode == 0
    assert read_json(tmp_path / "run" / "run.json")["resumed_from_step"] >= step
    same_bytes(undisturbed[0], tmp_path / "run")


def test_a_variable_weight_comes_back_from_a_checkpoint(start: Start, job: dict[str, Any], tmp_path: Path) -> None:
    process = start(job | {"stop_after": 3}, tmp_path, None)
    process.join()
    rows = StepLog.read(tmp_path / "run" / ".checkpoint" / "step00000003" / "steps.parquet").rows
    facts = read_json(tmp_path / "run" / ".checkpoint" / "step00000003" / "checkpoint.json")
    settings = methods.load("pdu").Settings.parse(job["own"], "job")
    weights = settings.weights
    for step in (1, 2, 3):
        means = {row["term"]: row["value"] for row in rows if row["step"] == step}
        weights = settings.next_weights(weights, means, step / 3)
    assert facts["weights"] == pytest.approx(weights)
    assert weights != settings.weights
    assert load_file(tmp_path / "run" / ".checkpoint" / "step00000003" / "model.safetensors")
