"""A training's launcher is a resource: a profile names it, and the numbers stay."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from palu.files import read_json

DDP = Path(__file__).resolve().parents[2] / "config" / "accelerate" / "ddp.yaml"
TWO_PROCESSES = f"accelerate launch --config_file {DDP} --num_processes 2"


def test_another_launcher_runs_nothing_anew(project, study):
    found = project.snakemake(study, "--dry-run", "--set-resources", f"unlearn_model:launch={TWO_PROCESSES}")
    assert "Nothing to be done" in found.stdout + found.stderr


def test_two_processes_by_a_resource_end_where_one_does(project, study, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    (run,) = project.folder.glob("results/village/*/*/palu/*/seed0")
    alone = run.parent.parent / "alone"
    shutil.move(run, alone)
    launch = ["--set-resources", f"unlearn_model:launch={TWO_PROCESSES}"]
    done = project.snakemake(study, *launch, "--", str((run / "run.json").relative_to(project.folder)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [read_json(folder / "run.json")["processes"] for folder in (alone, run)] == [1, 2]
    for model in ("model", "epoch1/model"):
        one, two = (load_file(folder / model / "model.safetensors") for folder in (alone, run))
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-6)
