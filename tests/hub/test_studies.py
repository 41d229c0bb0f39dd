"""The studies of published checkpoints: read and planned without a hub, a GPU or a token."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from palu.study import Study

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = {
    "tofu-llama2-7b": "open-unlearning/tofu_Llama-2-7b-chat-hf",
    "tofu-llama3.1-8b": "open-unlearning/tofu_Llama-3.1-8B-Instruct",
}


@pytest.fixture(params=CHECKPOINTS)
def name(request) -> str:
    return request.param


def parsed(name: str) -> Study:
    path = ROOT / "config" / f"{name}.yaml"
    return Study.parse(yaml.safe_load(path.read_text(encoding="utf-8")), path.name)


def test_a_published_study_has_the_papers_settings_and_checkpoints(name):
    study = parsed(name)
    assert study.name == name
    assert study.checkpoints == {
        "original": f"{CHECKPOINTS[name]}_full",
        # settings are chosen on the other rows of forget10, which this one did not see either
        "retain": f"{CHECKPOINTS[name]}_retain90",
    }
    assert (study.benchmark.settings.split_name, study.model.dtype) == ("forget05", "bfloat16")
    runs = [run for run in study.runs if run.method == "palu"]
    assert {run.training.learning_rate for run in runs} == {1e-5, 2e-5, 3e-5, 4e-5, 5e-5}
    assert {run.varied["alpha"] for run in runs} == {0.2, 0.5, 1, 2, 5}
    assert {(run.settings.first_n, run.settings.top_k) for run in runs} == {(3, 5000)}
    recipe = {"batch_size": 32, "weight_decay": 0.01, "warmup_epochs": 1.0, "schedule": "linear", "last_step": "drop"}
    for run in study.runs:
        assert {key: getattr(run.training, key) for key in recipe} == recipe
    assert {run.method for run in study.runs} == {"palu", "tpo", "pdu", "ga", "gd", "dpo", "npo", "simnpo"}


def test_the_templates_are_those_that_the_checkpoints_were_trained_with():
    assert parsed("tofu-llama2-7b").model.template == "llama2-chat"
    model = parsed("tofu-llama3.1-8b").model
    assert (model.template, model.date) == ("chat", "10 Apr 2025")


def test_a_published_study_is_planned_without_a_request(name, hub, tmp_path):
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    # the file that its head says how to make
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tofu-gpt.jsonl").touch()
    # one setting of each method and no epoch but the last: the whole grid has thousands of jobs of the same kinds
    values = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
    for settings in values["methods"].values():
        settings.update({key: value[0] for key, value in settings.items() if isinstance(value, list)})
    values["trajectory_epochs"] = []
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    # a plan of an empty results folder: another folder, so that what was run here does not count
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--snakefile", ROOT / "Snakefile"]
    done = subprocess.run(
        [*command, "--configfile", tmp_path / "study.yaml", "--directory", tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plan = done.stdout + done.stderr
    assert f"--checkpoint {CHECKPOINTS[name]}_full" in plan or f"{CHECKPOINTS[name]}_full" in plan
    assert "fetch_model" in plan
    assert "finetune_model" not in plan
    assert hub.requests == []


def test_each_checkpoint_has_its_own_revision():
    path = ROOT / "config" / "tofu-llama2-7b.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["model"] |= {"revision": "a" * 40, "retain_revision": "b" * 40}
    pinned = Study.parse(values, path.name)
    assert (pinned.model.revision, pinned.model.retain_revision) == ("a" * 40, "b" * 40)
    assert pinned.model_key != parsed("tofu-llama2-7b").model_key
