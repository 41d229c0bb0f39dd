"""Two processes end where one does, whether each has the whole model (DDP) or a share of it (FSDP2)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file

from palu import tables
from palu.files import read_json
from tests.training import processes as program
from tests.training.conftest import LAYER

CONFIG = Path(__file__).resolve().parents[2] / "config" / "accelerate"
# Five forget rows in steps of two: in the last step of an epoch the second process has no row.
TRAINING: dict[str, Any] = {"batch_size": 2, "epochs": 2, "learning_rate": 1e-3, "warmup_epochs": 0.5}
EVERY_STEP = {"checkpoint_seconds": 0}
RUNS: list[dict[str, Any]] = [
    {"method": "palu", "own": {"top_k": 20, "first_n": 2}, "keep_epochs": [1]},
    {"method": "npo", "own": {"beta": 0.5}},
    # micro-batches of a row or two: not as many in one process as in the other
    {"method": "dpo", "machine": {"micro_batch_tokens": 120}},
    # a loss that reaches no parameter behind a block
    {"method": "rmu", "own": {"layer": LAYER}},
    # interrupted, then the same run again
    {"method": "pdu", "own": {"dual_warmup_epochs": 0}, "machine": EVERY_STEP, "stop_after": 4},
    {"method": "pdu", "own": {"dual_warmup_epochs": 0}, "machine": EVERY_STEP},
    {"method": "ga", "training": {"lora": {"rank": 2}}, "keep_epochs": [1]},
    # stopped after its second epoch, well between the values after that and the one before
    {
        "method": "gd",
        "training": {"epochs": 4, "stop": {"probability": 0.00315}},
        "keep_epochs": [1, 3],
        "machine": {"micro_batch_tokens": 120},
        "watched": True,
    },
]
NAMES = sorted({run["method"] for run in RUNS})
WEIGHTS = ("model.safetensors", "adapter_model.safetensors")


def jobs(world: Any, watched_examples_path: Path) -> list[dict[str, Any]]:
    made = []
    for run in RUNS:
        inputs = world.inputs(**({"examples_path": watched_examples_path} if run.get("watched") else {}))
        training = TRAINING | run.get("training", {})
        made.append(run | {"training": training, "out": run["method"], "inputs": program.as_json(inputs)})
    return made


def launch(folder: Path, runs: list[dict[str, Any]], sharded: bool) -> None:
    """Two processes that talk over gloo, with the settings of the shipped configuration."""
    config = CONFIG / ("fsdp.yaml" if sharded else "ddp.yaml")
    arguments = launch_command_parser().parse_args(["--config_file", str(config), "script.py"])
    shipped = prepare_multi_gpu_env(_validate_launch_command(arguments)[0])
    shipped = {name: value for name, value in shipped.items() if name.startswith(("ACCELERATE", "FSDP"))}
    (folder / "job.json").write_text(json.dumps({"sharded": sharded, "runs": runs}), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [*command, program.__file__, str(folder / "job.json")],
        env=os.environ | shipped | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.fixture(scope="session")
def alone(world: Any, watched_examples_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs in this process."""
    folder = tmp_path_factory.mktemp("alone")
    for job in jobs(world, watched_examples_path):
        program.run(job, folder)
    return folder


@pytest.fixture(scope="session", params=["ddp", "fsdp"])
def together(
    world: Any, watched_examples_path: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """The runs in two processes."""
    folder = tmp_path_factory.mktemp(request.param)
    launch(folder, jobs(world, watched_examples_path), sharded=request.param == "fsdp")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_step_and_every_weight_is_that_of_one_process(alone: Path, together: Path, name: str) -> None:
    steps = [tables.rows(folder / name / "steps.parquet", "steps") for folder in (alone, together)]
    exact = ("step", "epoch", "term", "unit_count", "learning_rate")
    assert [[row[key] for key in exact] for row in steps[0]] == [[row[key] for key in exact] for row in steps[1]]
    for key in ("value", "grad_norm"):
        values = [[row[key] for row in rows] for rows in steps]
        assert values[1] == pytest.approx(values[0], rel=1e-5, abs=1e-6, nan_ok=True)
    files = sorted(path.relative_to(alone) for file in WEIGHTS for path in (alone / name).rglob(file))
    assert len(files) == 1 + sum(len(run.get("keep_epochs", [])) for run in RUNS if run["method"] == name)
    for file in files:
        one, two = (load_file(folder / file) for folder in (alone, together))
        assert one.keys() == two.keys()
        for parameter in one:
            torch.testing.assert_close(two[parameter], one[parameter], rtol=0, atol=1e-6)
    records = [read_json(folder / name / "run.json") for folder in (alone, together)]
    assert [record["processes"] for record in records] == [1, 2]
    for key in ("epochs", "units", "resumed_from_step", "keep_epochs_after_the_end"):
        assert records[0][key] == records[1][key]
    assert records[1]["validation_probabilities"] == pytest.approx(records[0]["validation_probabilities"], rel=1e-4)
    assert records[1]["epochs"] == 2, "of four, where the run was to be stopped"
    assert records[1]["resumed_from_step"] == (4 if name == "pdu" else 0)
    assert records[1]["keep_epochs_after_the_end"] == ([3] if name == "gd" else [])


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_spread_as_it_was_asked_for(together: Path, name: str) -> None:
    found = read_json(together / f"{name}.json")
    if "fsdp" in together.name:
        assert found["distributed_type"] == "DistributedType.FSDP"
        # the objective, which holds embedding and head, and each block
        assert found["units"] == ["", "model.model.layers.0", "model.model.layers.1"]
        assert 0.4 < found["numbers_here"] / found["numbers"] < 0.6
    else:
        assert found["distributed_type"] == "DistributedType.MULTI_CPU"
        assert found["units"] == []
        assert found["numbers_here"] == found["numbers"]
        assert found["gradients_are_views"]
