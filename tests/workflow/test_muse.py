"""The studies of MUSE: what those of the published checkpoints plan, and a small one from nothing to its report."""

import json

import pytest
import yaml

from palu.study import Study
from tests import muse_layout
from tests.workflow.conftest import ROOT, STUDY, Project


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("corpus", ["News", "Books"])
def test_the_study_names_the_published_checkpoints_and_the_papers_settings(corpus):
    values = yaml.safe_load((ROOT / "config" / f"muse-{corpus.lower()}.yaml").read_text(encoding="utf-8"))
    study = Study.parse(values, "study.yaml")
    assert study.checkpoints == {
        "original": f"muse-bench/MUSE-{corpus}_target",
        "retain": f"muse-bench/MUSE-{corpus}_retrain",
    }
    assert study.benchmark.values["source"] == f"muse-bench/MUSE-{corpus}"
    assert (study.model.template, study.model.max_length, study.model.dtype) == ("raw", 2048, "bfloat16")
    rates = {run.training.learning_rate for run in study.runs if run.method == "palu"}
    assert rates == {1e-5, 2e-5, 3e-5, 4e-5, 5e-5}
    assert {run.training.batch_size for run in study.runs} == {32}


@pytest.mark.parametrize("corpus", ["news", "books"])
def test_the_plan_fetches_both_models_and_trains_each_run(empty, corpus):
    values = yaml.safe_load((ROOT / "config" / f"muse-{corpus}.yaml").read_text(encoding="utf-8"))
    # seven methods with 25 settings each; every epoch's evaluation would make it 1,752 of them
    values["trajectory_epochs"] = []
    assert empty.planned(values) == {
        "prepare_benchmark": 1,
        "fetch_model": 2,
        "tag_replies": 1,
        "cache_states": 1,
        "index_top_k": 1,
        "unlearn_model": 175,
        "infer_model": 177,
        "classify_generations": 177,
        "score_model": 177,
        "describe_study": 1,
        "report_study": 1,
    }


@pytest.mark.slow
def test_a_small_study_of_documents_runs_to_its_report(empty, tmp_path):
    source = muse_layout.write(tmp_path / "source")
    study = {
        **STUDY,
        "benchmark": {"name": "muse", "source": str(source), "train_questions": True, "icl_examples": 0},
        "model": {**STUDY["model"], "template": "raw", "max_length": 48},
        "taggers": {"rules": {"name": "spacy"}},
        "evaluation": {"knowmem_new_tokens": 4, "verbmem_new_tokens": 8, "fluency": {"classifier": None}},
    }
    done = empty.snakemake(study)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = empty.folder.glob("results/small/report.html")
    assert "knowledge_memorization_retain" in report.read_text(encoding="utf-8")
    for path in empty.folder.glob("results/muse/**/summary.json"):
        summary = json.loads(path.read_text(encoding="utf-8"))
        for name in ("verbatim_memorization", "knowledge_memorization_forget", "forget_probability", "mia_loss"):
            assert summary[name] is not None, (path, name)
        if "/retain/" not in str(path):
            assert summary["privleak"] is not None
