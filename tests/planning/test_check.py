"""What `palu check` says, and that it runs nothing."""

import json
import re
from pathlib import Path

import pytest
import yaml

from palu.cli import main
from palu.planning import jobs
from palu.planning.check import check
from palu.planning.machine import Room

ROOT = Path(__file__).parents[2]
ROOM = Room(memory=64 * 10**9, gpu_memory=None, free_disk=10**12)


@pytest.fixture
def no_dry_run(monkeypatch):
    monkeypatch.setattr(jobs, "planned", lambda _: {"unlearn_model": 1})


@pytest.mark.usefixtures("no_dry_run")
def test_a_sound_study_is_told_in_lines_and_has_no_problem(own):
    found = check(own, "study.yaml", ROOM)
    assert found.problems == []
    told = found.told()
    assert "benchmark custom: rows: forget 40, retain 20 (forget.jsonl, retain.jsonl)" in told
    assert "by the model's tokenizer" in told
    assert re.search(r"spans of forget: in 40 of 40 rows, over \d\d\.\d% of their characters", told)
    assert "jobs: 1: unlearn_model 1" in told
    assert re.search(r"memory of one run of palu: .*weights .*moments .*activations ", told)
    assert re.search(r"disk: .*models .*checkpoints .*states .*top-K .*free: 1000.0 GB", told)
    assert told.endswith("nothing is wrong\n")


@pytest.mark.usefixtures("no_dry_run")
def test_what_will_not_fit_is_a_warning_and_no_problem(own):
    found = check(own, "study.yaml", Room(memory=10**12, gpu_memory=1000, free_disk=2000))
    assert found.problems == []
    warnings = [line for line in found.lines if line.startswith("warning")]
    assert len(warnings) == 2
    assert warnings[0].startswith("warning: palu needs ")
    assert warnings[0].endswith("the GPU has 1.0 KB")
    assert warnings[1].endswith("2.0 KB are free here")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"methods": {"palu": {"frst_n": 3}}}, "study.yaml: methods.palu: unknown key 'frst_n'"),
        ({"model": {"checkpoint": "./none"}}, "model: ./none: no such model folder"),
        ({"taggers": {"own": {"name": "annotations", "path": "none.jsonl"}}}, "taggers.own: none.jsonl: no such file"),
        (
            {"benchmark": {"name": "custom", "forget": "none.jsonl", "retain": "retain.jsonl"}},
            "none.jsonl: no such file",
        ),
        (
            {"benchmark": {"name": "custom", "forget": "forget.jsonl", "retain": None}},
            "study.yaml: methods.palu: the retain term, of weight 1, needs retain rows, and benchmark.retain is null; "
            "allowed: a file of them, a weight of 0, or another method",
        ),
    ],
)
@pytest.mark.usefixtures("no_dry_run")
def test_a_problem_is_one_line(own, changes, problem):
    (told,) = check(own | changes, "study.yaml", ROOM).problems
    assert told.startswith(problem)
    assert "\n" not in told


@pytest.mark.usefixtures("no_dry_run")
def test_every_bad_line_of_the_data_is_a_problem_and_spans_must_be_there_for_who_reads_them(own, tmp_path):
    rows = [{"prompt": "p", "reply": "r"}, {"prompt": "p"}, {"text": 3}]
    (tmp_path / "forget.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [line.partition(": ")[2][:6] for line in check(own, "study.yaml", ROOM).problems] == ["line 2", "line 3"]
    (tmp_path / "forget.jsonl").write_text(json.dumps(rows[0]) + "\n")
    (told,) = check(own, "study.yaml", ROOM).problems
    assert told.startswith("taggers.own: reads the benchmark's own spans, and no row to forget has any")


@pytest.mark.usefixtures("no_dry_run")
def test_a_request_without_retain_rows_says_what_that_means(own):
    benchmark = {"name": "custom", "forget": "forget.jsonl", "retain": None}
    found = check(own | {"benchmark": benchmark, "methods": {"npo": {"retain_weight": 0}}}, "study.yaml", ROOM)
    assert found.problems == []
    assert any(line.startswith("note: no retain rows were given") for line in found.lines)


@pytest.mark.usefixtures("no_dry_run")
def test_the_command_exits_with_1_where_there_are_problems(own, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(own))
    assert main(["check", "study.yaml"]) == 0
    with pytest.raises(SystemExit) as ended:
        main(["check", "study.yaml", "--set", "benchmark.forget=none.jsonl"])
    assert ended.value.code == 1
    assert "problem: none.jsonl: no such file" in capsys.readouterr().out


@pytest.mark.parametrize("study", sorted(ROOT.glob("config/*.yaml")), ids=lambda path: path.stem)
def test_every_study_that_ships_is_sound_offline(study, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(jobs, "planned", lambda _: {})
    values = yaml.safe_load(study.read_text())
    taggers = values.get("taggers", {}).values()
    own_files = [Path(tagger.get("path") or tagger.get("annotations") or ".") for tagger in taggers]
    if not all(path.exists() for path in own_files):
        pytest.skip(f"{study.name} reads annotations that are not here")
    found = check(values, str(study), ROOM)
    assert found.problems == []


def test_the_jobs_are_those_of_the_workflows_dry_run_and_nothing_is_written(own, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    planned = jobs.planned(own)
    assert planned == {
        "describe_study": 1,
        "prepare_benchmark": 1,
        "fetch_model": 1,
        "tag_replies": 1,
        "cache_states": 1,
        "index_top_k": 1,
        "unlearn_model": 1,
        "infer_model": 2,
        "score_model": 2,
        "report_study": 1,
    }
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".snakemake") == before


def test_the_workflows_own_refusal_is_one_line(own, tmp_path):
    (tmp_path / "forget.jsonl").unlink()
    found = check(own, "study.yaml", ROOM)
    assert found.problems == [
        "forget.jsonl: no such file (looked for from " + repr(tmp_path.name) + ", the folder of this run)"
    ]


@pytest.mark.usefixtures("no_dry_run")
@pytest.mark.parametrize(("last_step", "each"), [("short", 3), ("drop", 2), ("merge", 2)])
def test_the_steps_of_a_run_follow_its_last_step(own, last_step, each):
    # 40 rows to forget
    own["training"] = {"epochs": 3, "batch_size": 16, "last_step": last_step}
    lines = check(own, "study.yaml", ROOM).lines
    assert f"steps of one run of palu: {3 * each} ({each} in each of 3 epochs)" in lines
