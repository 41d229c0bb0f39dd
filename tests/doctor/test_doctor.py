"""The doctor says what is there, what a study would use, and what is lacking."""

import json

import pytest
import yaml

from palu import cli
from palu.doctor import examine
from palu.doctor.findings import Finding, Report, first
from palu.doctor.gpus import details
from palu.hub import access

STUDY = {
    "study": "own",
    "benchmark": {"name": "village", "people": 8, "held_out_people": 1, "forget_people": 2},
    "model": {"name": "toy", "architecture": {"vocab_size": 400, "hidden_size": 16, "layers": 1, "heads": 2}},
    "taggers": {"gold": {"name": "annotations"}},
    "methods": {"palu": {"top_k": 40}},
    "reference": {"top_k": 60},
    "evaluation": {"fluency": {"classifier": None}},
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No test asks the hub; the machine has no GPU."""
    monkeypatch.setattr(access, "unreachable", lambda _seconds: "ConnectError")
    monkeypatch.setattr(access, "is_cached", lambda *_: False)
    monkeypatch.setattr("palu.devices.installed", list)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study(tmp_path):
    def write(**changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes))
        return path

    return write


def test_a_sound_study_on_this_machine_is_told_and_nothing_is_lacking(study, capsys):
    assert cli.main(["doctor", str(study())]) == 0
    text = capsys.readouterr().out
    for line in ("usable of", "free of", "results/", "torch", "own (", "the CPU", "toy: trained here from nothing"):
        assert line in text
    assert "hf_secret" not in text
    assert text.rstrip().splitlines()[-1].startswith("0 things are lacking")


def test_the_json_says_the_same_and_no_token(study, capsys):
    assert cli.main(["doctor", "--json", str(study())]) == 0
    text = capsys.readouterr().out
    report = json.loads(text)
    assert report["is_lacking"] is False
    assert report["sections"]["hub"]["token"]["value"] is True
    assert report["sections"]["study"]["device"]["value"] == "cpu"
    assert "hf_secret" not in text


def test_a_checkpoint_that_cannot_be_had_is_lacking(study, capsys):
    path = study(model={"name": "llama", "checkpoint": "owner/llama"})
    assert cli.main(["doctor", str(path)]) == 1
    text = capsys.readouterr().out
    assert "owner/llama, not here yet" in text
    assert "!! not here, and the hub cannot be asked" in text


def test_each_checkpoint_is_looked_for_at_its_own_revision(study, monkeypatch):
    asked = []
    monkeypatch.setattr(access, "is_cached", lambda *wanted: not asked.append(wanted))
    checkpoints = {"checkpoint": "owner/full", "revision": "v1", "retain_checkpoint": "owner/kept"}
    assert not examine(study(model={"name": "llama", **checkpoints, "retain_revision": "v2"})).is_lacking
    assert asked[:2] == [("owner/full", "v1", False), ("owner/kept", "v2", False)]


def test_a_classifier_that_cannot_be_had_is_only_worth_a_look(study):
    report = examine(study(evaluation={"fluency": {"classifier": "owner/classifier"}}))
    found = first(report.findings, "fluency classifier")
    assert found.advice.endswith("without it the metric is null, with this reason")
    assert not report.is_lacking


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"methods": {"palo": {}}}, "unknown method 'palo' (did you mean 'palu'?)"),
        (
            {"taggers": {"ner": {"name": "spacy", "pipeline": "xx_none"}}},
            "python -m spacy download xx_none",
        ),
        ({"machine": {"trackers": ["wandb"]}}, "install it: pip install wandb"),
    ],
)
def test_what_a_study_lacks_is_told_with_what_to_do(study, changes, advice, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else name)
    report = examine(study(**changes))
    assert report.is_lacking
    assert any(advice in found.advice for found in report.findings)


def test_a_file_that_is_missing_is_a_finding(tmp_path):
    report = examine(tmp_path / "none.yaml")
    assert first(report.findings, "file").advice.endswith("none.yaml: cannot be read: No such file or directory")


def test_a_gpu_s_facts_are_read_from_the_drivers_table():
    (gpu,) = details("GPU-1, NVIDIA H100 80GB HBM3, 81559, 550.54.15, 9.0\n")
    assert (gpu["name"], gpu["memory.total"], gpu["compute_cap"]) == ("NVIDIA H100 80GB HBM3", "81559", "9.0")


def test_only_what_is_needed_makes_the_report_fail():
    problem = Finding("machine", "disk", 1, "little", "make room")
    assert not Report([problem]).is_lacking
    assert "  ! make room" in Report([problem]).as_text()
    assert Report([Finding("machine", "disk", 1, "none", "make room", is_needed=True)]).is_lacking
