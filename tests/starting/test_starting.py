"""What `palu init` writes: sound from the start, never over something else."""

import os
from pathlib import Path

import pytest
import yaml

from palu import starting
from palu.cli import main
from palu.planning import jobs
from palu.planning.check import check

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", [".", "mine", "a folder/é#1"])
def test_a_new_request_is_sound_wherever_it_is_written(tmp_path, monkeypatch, capsys, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "planned", lambda _: {})
    assert main(["init", "custom", "--out", folder]) == 0
    study = Path(folder) / "study.yaml"
    told = capsys.readouterr().out
    assert "palu check" in told
    assert "snakemake --cores 2 --configfile" in told
    values = yaml.safe_load(study.read_text())
    assert values["benchmark"] == {
        "name": "custom",
        "forget": str(Path(folder) / "forget.jsonl"),
        "retain": str(Path(folder) / "retain.jsonl"),
    }
    assert check(values, str(study)).problems == []


@pytest.mark.parametrize("there", starting.FILES)
def test_a_file_that_is_there_stays_and_nothing_else_is_written(tmp_path, monkeypatch, capsys, there):
    monkeypatch.chdir(tmp_path)
    Path(there).write_text("mine")
    assert main(["init", "custom"]) == 1
    assert capsys.readouterr().err == (
        f"palu: error: init: {there} is there already; allowed: a folder without it (--out DIR)\n"
    )
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_the_study_in_config_is_the_one_that_init_writes(tmp_path):
    shipped = ROOT / "config" / "custom.yaml"
    assert os.path.samefile(shipped, Path(starting.__file__).parent / "custom" / "study.yaml")
    starting.write("custom", tmp_path)
    written = (tmp_path / "study.yaml").read_text().splitlines()
    changed = [line for line, other in zip(shipped.read_text().splitlines(), written, strict=True) if line != other]
    assert [line.split(":")[0].strip() for line in changed] == ["forget", "retain"]


def test_every_row_that_is_written_is_of_a_part_that_is_evaluated_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "planned", lambda _: {})
    starting.write("custom", Path("mine"))
    found = check(yaml.safe_load(Path("mine/study.yaml").read_text()), "mine/study.yaml")
    assert not any("only these are evaluated" in line for line in found.lines)
