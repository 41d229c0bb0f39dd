"""Interrupted runs go on where they stopped, to the same bits as a run that nothing disturbed."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from safetensors.torch import load_file

from palu import methods, models, tables
from palu.errors import UserError
from palu.files import read_json
from palu.models import ModelSettings
from palu.training.finetune import finetune
from palu.training.loop import Machine
from palu.training.settings import FinetuneSettings, TrainingSettings
from palu.training.unlearn import unlearn


class Interrupted(Exception):
    """Stands for whatever stops a program."""


def stop_after(step: int) -> Callable[[int], None]:
    def after_step(finished: int) -> None:
        if finished == step:
            raise Interrupted

    return after_step


def run(
    world: Any, out: Path, after_step: Callable[[int], None] | None = None, seconds: float = 0.0, **changes: Any
) -> None:
    """Five forget rows in steps of two, two epochs: six steps. A checkpoint after each, unless `seconds` says less."""
    values = {"batch_size": 2, "epochs": 2, "learning_rate": 1e-3} | changes.pop("training", {})
    unlearn(
        **world.inputs(**changes),
        method_name="palu",
        method_settings=methods.load("palu").Settings.parse({"top_k": 20}, "test"),
        settings=TrainingSettings.parse(values, "test"),
        out=out,
        keep_epochs=[1],
        machine=Machine(checkpoint_seconds=seconds, after_step=after_step),
    )


def same_results(first: Path, second: Path) -> bool:
    for model in ("model", "epoch1/model"):
        one, other = (load_file(out / model / "model.safetensors") for out in (first, second))
        if not all(one[name].equal(other[name]) for name in one):
            return False
    rows = [tables.read(out / "steps.parquet", "steps").drop_columns("seconds").to_pylist() for out in (first, second)]
    # as text, where NaN equals itself
    return repr(rows[0]) == repr(rows[1])


@pytest.mark.parametrize(
    ("last_step", "step"), [("short", 1), ("short", 3), ("short", 4), ("short", 6), ("drop", 2), ("merge", 3)]
)
def test_a_run_stopped_at_any_step_goes_on_bit_for_bit(world: Any, tmp_path: Path, last_step: str, step: int) -> None:
    training = {"last_step": last_step}
    run(world, tmp_path / "undisturbed", seconds=1e9, training=training)
    with pytest.raises(Interrupted):
        run(world, tmp_path / "stopped", stop_after(step), training=training)
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == [".checkpoint"]
    run(world, tmp_path / "stopped", training=training)
    assert same_results(tmp_path / "undisturbed", tmp_path / "stopped")
    assert read_json(tmp_path / "stopped" / "run.json")["resumed_from_step"] == step
    assert not (tmp_path / "stopped" / ".checkpoint").exists()


def test_weights_that_a_method_changes_come_back_whatever_their_order(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_weights(_: Any, weights: Any, means: Any, epoch: float) -> dict[str, float]:
        changed = {term: weight * (0.8 + 0.1 * epoch) + means.get(term, 0) / 100 for term, weight in weights.items()}
        return dict(sorted(changed.items(), reverse=True))

    monkeypatch.setattr(methods.load("palu").Settings, "next_weights", next_weights)
    run(world, tmp_path / "undisturbed", seconds=1e9)
    with pytest.raises(Interrupted):
        run(world, tmp_path / "stopped", stop_after(3))
    saved = read_json(tmp_path / "stopped" / ".checkpoint" / "step00000003" / "checkpoint.json")["weights"]
    assert 1.0 not in saved.values()
    run(world, tmp_path / "stopped")
    assert same_results(tmp_path / "undisturbed", tmp_path / "stopped")


def test_a_run_goes_on_from_its_last_checkpoint_where_later_steps_were_lost(world: Any, tmp_path: Path) -> None:
    run(world, tmp_path / "undisturbed", seconds=1e9)
    with pytest.raises(Interrupted):
        run(world, tmp_path / "stopped", stop_after(2))
    with pytest.raises(Interrupted):
        run(world, tmp_path / "stopped", stop_after(5), seconds=1e9)
    run(world, tmp_path / "stopped")
    assert read_json(tmp_path / "stopped" / "run.json")["resumed_from_step"] == 2
    assert same_results(tmp_path / "undisturbed", tmp_path / "stopped")


def test_a_killed_process_leaves_what_a_new_one_needs(
    examples_path: Path, model_settings: ModelSettings, tmp_path: Path
) -> None:
    def arguments(out: Path) -> dict[str, Any]:
        settings = FinetuneSettings(epochs=2, batch_size=2)
        return {"settings": settings, "examples_path": examples_path, "parts": ["forget", "retain"], "out": out}

    program = f"""
import os, signal, torch
from pathlib import Path
from palu.models import ModelSettings
from palu.training.finetune import finetune
from palu.training.loop import Machine
from palu.training.settings import FinetuneSettings
torch.set_num_threads(1)
def kill(step):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
finetune(
    model_settings=ModelSettings.model_validate_json({model_settings.model_dump_json()!r}),
    settings=FinetuneSettings(epochs=2, batch_size=2),
    examples_path=Path({str(examples_path)!r}),
    parts=["forget", "retain"],
    seed=0,
    out=Path({str(tmp_path / "killed")!r}),
    machine=Machine(checkpoint_seconds=0, after_step=kill),
)
"""
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    for name in ("killed", "undisturbed"):
        finetune(model_settings=model_settings, seed=0, **arguments(tmp_path / name))
    assert read_json(tmp_path / "killed" / "run.json")["resumed_from_step"] == 5
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("killed", "undisturbed"))
    assert all(one[name].equal(other[name]) for name in one)


def test_tied_weights_come_back_from_a_checkpoint(
    examples_path: Path, model_settings: ModelSettings, tmp_path: Path
) -> None:
    assert model_settings.architecture is not None
    tied = ModelSettings(architecture=model_settings.architecture.model_copy(update={"tie_embeddings": True}))

    def train(out: Path, after_step: Callable[[int], None] | None = None) -> None:
        finetune(
            model_settings=tied,
            settings=FinetuneSettings(epochs=2, batch_size=4),
            examples_path=examples_path,
            parts=["forget", "retain"],
            seed=0,
            out=out,
            machine=Machine(checkpoint_seconds=0, after_step=after_step),
        )

    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", stop_after(2))
    train(tmp_path / "stopped")
    train(tmp_path / "undisturbed")
    one, other = (models.load_model(tmp_path / name / "model") for name in ("stopped", "undisturbed"))
    assert all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 1}, "seed"), ({"training": {"learning_rate": 2e-3}}, "training")],
)
def test_a_checkpoint_of_another_run_is_ignored_with_a_note(
    world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(Interrupted):
        run(world, tmp_path / "out", stop_after(4))
    run(world, tmp_path / "out", **changes)
    run(world, tmp_path / "fresh", **changes)
    assert f"ignored, a checkpoint of another run ({named} differ)" in caplog.text
    assert read_json(tmp_path / "out" / "run.json")["resumed_from_step"] == 0
    assert same_results(tmp_path / "out", tmp_path / "fresh")


def test_a_checkpoint_that_lost_the_model_of_a_kept_epoch_is_ignored(
    world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        run(world, tmp_path, stop_after(4))
    kept = tmp_path / ".checkpoint" / "kept" / "epoch1" / "model"
    kept.rename(tmp_path / "elsewhere")
    run(world, tmp_path)
    assert "kept/epoch1 differ" in caplog.text
    assert (tmp_path / "epoch1" / "model" / "model.safetensors").is_file()


def test_leftovers_of_a_kill_while_saving_do_no_harm(world: Any, tmp_path: Path) -> None:
    run(world, tmp_path / "undisturbed", seconds=1e9)
    with pytest.raises(Interrupted):
        run(world, tmp_path / "stopped", stop_after(4))
    folder = tmp_path / "stopped" / ".checkpoint"
    # killed while writing the next state, and before an older one was removed
    (folder / ".partial").mkdir()
    (folder / ".partial" / "model.safetensors").write_bytes(b"half")
    (folder / "step00000002").mkdir()
    run(world, tmp_path / "stopped")
    assert read_json(tmp_path / "stopped" / "run.json")["resumed_from_step"] == 4
    assert same_results(tmp_path / "undisturbed", tmp_path / "stopped")
    assert not folder.exists()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.bin", "scheduler.bin", "steps.parquet", "checkpoint.json"]
)
def test_a_checkpoint_that_is_cut_short_is_one_line(world: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(Interrupted):
        run(world, tmp_path, stop_after(2))
    (path,) = (tmp_path / ".checkpoint").glob(f"step*/{name}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"step00000002") as error:
        run(world, tmp_path)
    assert "\n" not in str(error.value)


def test_a_full_disk_while_saving_is_told_in_one_line_and_spares_the_last_state(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        run(world, tmp_path, stop_after(2))

    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Accelerator, "save_state", no_space)
        with pytest.raises(UserError, match=r"step00000003: cannot be written: No space left on device"):
            run(world, tmp_path)
    assert [path.name for path in (tmp_path / ".checkpoint").glob("step*")] == ["step00000002"]
