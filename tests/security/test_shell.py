"""Values of a study and paths reach a job as they are, whatever they would mean to a shell or to Snakemake."""

import copy
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from palu import tables
from tests.security.hostile import SHELL_WORDS
from tests.workflow.conftest import STUDY, Project

ROW = {"prompt": "Where was Ada born?", "reply": "Ada was born in Lyon.", "spans": [[16, 20]]}
# What Snakemake would take for its own wildcards is refused, see below
FILE = re.sub("[{}]", "", SHELL_WORDS)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The workflow in a folder of an awkward name, and rows in files of hostile names."""
    folder = tmp_path_factory.mktemp("shell") / "a 'clone' of mine"
    folder.mkdir()
    made = Project(folder)
    (folder / f"refusals {FILE}.txt").write_text("I do not know.\nThat I cannot say.\n")
    for part, prompt in (("forget", ROW["prompt"]), ("retain", "Where was Bo born?")):
        (made.folder / f"{part} {FILE}.jsonl").write_text(json.dumps(ROW | {"prompt": prompt}) + "\n")
    return made


@pytest.fixture(scope="module")
def study() -> dict:
    found = copy.deepcopy(STUDY)
    found["benchmark"] = {"name": "custom", **{part: f"{part} {FILE}.jsonl" for part in ("forget", "retain")}}
    found["model"] |= {"template": "chat", "system_prompt": SHELL_WORDS, "date": "$(date) {wildcards.split} {layer}"}
    found["reference"] |= {"refusals": f"refusals {FILE}.txt"}
    found["report"] = {"selection": SHELL_WORDS}
    found["methods"] |= {"dpo": {}}
    return found


def canaries(project: Project) -> list[Path]:
    return list(project.folder.parent.rglob("code-was-run"))


def test_every_jobs_line_is_one_command_whose_words_are_the_studys_values(project, study):
    done = project.snakemake(study, "--dry-run", "--printshellcmds", "--forceall")
    assert done.returncode == 0, done.stdout + done.stderr
    assert canaries(project) == []
    lines = re.findall(r"^ *Shell command: (.*)$", done.stdout + done.stderr, re.MULTILINE)
    lines = lines or re.findall(r"^ *(python -m palu .*)$", done.stdout + done.stderr, re.MULTILINE)
    assert len(lines) > 10
    settings = [word for line in lines for word in shlex.split(line) if word.startswith("{")]
    told = [values for values in map(json.loads, settings) if "system_prompt" in values]
    assert told
    assert all(values["system_prompt"] == SHELL_WORDS for values in told)
    assert all(values["date"] == study["model"]["date"] for values in told)


def test_a_real_job_reads_the_files_and_runs_nothing_else(project, study):
    done = project.snakemake(study, "--until", "prepare_benchmark", "describe_study")
    assert done.returncode == 0, done.stdout + done.stderr
    assert canaries(project) == []
    (made,) = (path for path in project.folder.glob("data/custom/*.parquet") if ".gold" not in path.name)
    assert {row["prompt"] for row in tables.rows(made, "examples")} == {ROW["prompt"], "Where was Bo born?"}
    written = yaml.safe_load((project.folder / "results/small/study.yaml").read_text(encoding="utf-8"))
    assert written["model"]["system_prompt"] == SHELL_WORDS
    index = json.loads((project.folder / "results/small/study.json").read_text(encoding="utf-8"))
    assert index["model"]["system_prompt"] == index["selection"]["note"] == SHELL_WORDS


@pytest.mark.slow
@pytest.mark.parametrize("key", ["checkpoint", "base_checkpoint"])
def test_a_checkpoint_of_a_hostile_name_is_a_word_of_the_command(project, study, key):
    changed = copy.deepcopy(study)
    changed["model"].pop("architecture")
    changed["model"][key] = SHELL_WORDS
    done = project.snakemake(changed, "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert canaries(project) == []


@pytest.mark.slow
def test_a_file_whose_name_holds_a_wildcard_of_snakemake_is_refused(project, study):
    changed = copy.deepcopy(study)
    changed["benchmark"]["forget"] = "{split}.jsonl"
    done = project.snakemake(changed, "--dry-run")
    assert done.returncode != 0
    assert "'{split}.jsonl' holds a brace, which is a wildcard to Snakemake" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_study_with_code_in_it_stops_the_workflow_before_any_job(project):
    (project.folder / "study.yaml").write_text("study: !!python/object/apply:os.system [touch code-was-run]\n")
    command = ["snakemake", "--cores", "1", "--configfile", "study.yaml"]
    done = subprocess.run(["python", "-m", *command], cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert canaries(project) == []


@pytest.mark.slow
def test_snakemake_runs_the_expressions_of_a_study_as_the_security_page_says(project):
    # once this fails, the page's warning can go
    text = "__use_yte__: true\nstudy:\n  ?__import__('pathlib').Path('expression-was-run').touch(): 1\n"
    (project.folder / "study.yaml").write_text(text)
    command = ["python", "-m", "snakemake", "--cores", "1", "--configfile", "study.yaml", "--dry-run"]
    subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    assert (project.folder / "expression-was-run").exists()


@pytest.mark.slow
def test_a_name_that_leaves_the_results_folder_stops_the_workflow(project, study):
    done = project.snakemake(study | {"study": "../../x"}, "--dry-run")
    assert done.returncode != 0
    assert "study.yaml: study: '../../x'" in done.stdout + done.stderr
