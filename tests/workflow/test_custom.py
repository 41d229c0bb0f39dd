"""One's own forget request through the workflow: its plan, its reruns, and slowly the whole way to a report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from palu import models
from palu.models import Architecture
from tests.workflow.conftest import Project


@pytest.fixture
def request_(tmp_path) -> tuple[Project, dict]:
    """A fresh workflow with what `palu init custom` writes there."""
    project = Project(tmp_path)
    command = [sys.executable, "-m", "palu", "init", "custom", "--out", "mine"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return project, yaml.safe_load((tmp_path / "mine" / "study.yaml").read_text())


def test_a_new_request_is_planned_and_a_changed_row_prepares_the_rows_anew(request_):
    project, study = request_
    assert project.planned(study)["unlearn_model"] == 2
    done = project.snakemake(study, "--until", "prepare_benchmark")
    assert done.returncode == 0, done.stderr
    assert "prepare_benchmark" not in project.planned(study)
    with (project.folder / "mine" / "forget.jsonl").open("a") as handle:
        handle.write(json.dumps({"text": "One more row about Wilmar Oost."}) + "\n")
    assert project.planned(study)["prepare_benchmark"] == 1


def test_a_missing_file_stops_the_workflow_with_one_line(request_):
    project, study = request_
    (project.folder / "mine" / "retain.jsonl").unlink()
    done = project.snakemake(study, "--dry-run")
    assert done.returncode != 0
    assert "mine/retain.jsonl: no such file" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_request_without_retain_rows_ends_with_a_report_of_a_local_model(request_):
    project, study = request_
    forget = project.folder / "mine" / "forget.jsonl"
    texts = [json.loads(line)["reply"] for line in forget.read_text().splitlines()]
    sizes = Architecture(vocab_size=400, hidden_size=16, layers=1, heads=2, kv_heads=1, intermediate_size=32)
    models.save_model(*models.build_from_scratch(sizes, texts, seed=0), project.folder / "model")
    study["benchmark"]["retain"] = None
    study["model"] = {"checkpoint": "model", "max_length": 64}
    study["methods"] = {"palu": {"top_k": 40, "retain_weight": 0}}
    study["reference"] = {"top_k": 60}
    study["training"] = {"epochs": 1}
    study["evaluation"]["max_new_tokens"] = 4
    assert _checked(project.folder, study) == 0
    done = project.snakemake(study)
    assert done.returncode == 0, done.stderr
    page = (project.folder / "results" / "custom" / "report.html").read_text()
    assert "nothing measures what the forgetting cost" in page
    (reasons,) = project.folder.glob("results/custom/*/*/palu/*/seed0/evaluation-*/reasons.json")
    assert json.loads(reasons.read_text())["retain_probability"] == "benchmark custom has no part retain"


def _checked(folder: Path, study: dict) -> int:
    (folder / "mine" / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "palu", "check", "mine/study.yaml"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode
