"""A changed line runs what depends on it, and nothing else."""

import json
import os
import re

import pytest
import yaml

from palu.study import Study

# One run with one kept epoch, made anew because its code changed, and because the study's words on it did.
OTHER_CODE = {"unlearn_model": 1, "infer_model": 2, "score_model": 2, "report_study": 1}
OTHER_SETTINGS = OTHER_CODE | {"describe_study": 1}


def edit(project, path, old, new):
    source = project.folder / "palu" / path
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new, 1))


def test_a_second_run_has_nothing_to_do(project, study):
    done = project.snakemake(study)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_study_file_that_the_evidence_names_is_the_same_study(project, study):
    written = yaml.safe_load((project.folder / "results/small/study.yaml").read_text())
    assert Study.parse(written, "written").description() == Study.parse(study, "given").description()
    assert project.planned(written) == {}
    facts = json.loads((project.folder / "results/small/evidence.json").read_text())
    assert facts["commands"] == ["snakemake --cores all --configfile results/small/study.yaml"]
    assert facts["about"]["evaluation_is_of_this_model"] is True


def test_touched_sources_have_nothing_to_do(project, study):
    for path in (project.folder / "palu").rglob("*.py"):
        os.utime(path)
    assert project.planned(study) == {}


def test_a_comment_and_a_docstring_have_nothing_to_do(project, study):
    for path in (project.folder / "palu").rglob("*.py"):
        path.write_text(path.read_text() + "\n# a new comment\n")
    edit(project, "methods/npo.py", '"""NPO:', '"""NPO, in short:')
    assert project.planned(study) == {}


def test_an_edit_in_one_method_runs_that_method_only(project, study):
    edit(project, "methods/npo.py", "2 / settings.beta", "2.0 / settings.beta")
    assert project.planned(study) == OTHER_CODE


def test_a_new_line_in_the_dict_of_methods_runs_nothing(project, study):
    edit(project, "methods/__init__.py", "METHODS = {", 'METHODS = {\n    "new": "palu.methods.new",')
    assert project.planned(study) == {}


@pytest.mark.parametrize(
    "changes", [{"first_n": 1}, {"top_k": 60}, {"top_k": 7}, {"target": "zero"}, {"learning_rate": 2e-3}]
)
def test_a_changed_setting_of_a_method_runs_no_tagging_reference_or_model_training(project, study, changes):
    study["methods"]["palu"].update(changes)
    assert project.planned(study) == OTHER_SETTINGS


def test_a_changed_seed_runs_the_trainings_only(project, study):
    study["seeds"] = [1]
    assert project.planned(study) == {
        "describe_study": 1,
        "unlearn_model": 2,
        "infer_model": 4,
        "score_model": 4,
        "report_study": 1,
    }


def test_two_swapped_values_are_noticed(project, study):
    palu = study["methods"]["palu"]
    palu["local_weight"], palu["retain_weight"] = palu["retain_weight"], palu["local_weight"]
    assert project.planned(study) == OTHER_SETTINGS


def test_a_new_method_adds_its_own_jobs_only(project, study):
    study["methods"]["gd"] = {}
    assert project.planned(study) == OTHER_SETTINGS


def test_a_fixed_metric_runs_no_model(project, study):
    edit(project, "evaluation/truth_ratio.py", "EPSILON = 1e-10", "EPSILON = 1e-9")
    assert project.planned(study) == {"score_model": 6, "report_study": 1}


def test_a_classifier_is_asked_about_every_model_and_no_model_runs_again(project, study):
    study["evaluation"]["fluency"] = {"classifier": "nowhere"}
    planned = {"describe_study": 1, "classify_generations": 6, "score_model": 6, "report_study": 1}
    assert project.planned(study) == planned


def test_an_edit_of_the_report_runs_the_report_only(project, study):
    edit(project, "reporting/page.py", '"outcome.txt": outcome(', '"outcome.txt": "" + outcome(')
    assert project.planned(study) == {"report_study": 1}


def test_a_larger_index_runs_the_index_and_what_reads_it(project, study):
    study["reference"]["top_k"] = 80
    assert project.planned(study) == {"index_top_k": 1, **OTHER_SETTINGS}


def test_the_report_stands_beside_the_runs_and_names_every_model(finished):
    page = (finished.folder / "results/small/report.html").read_text()
    for name in ("palu", "npo", "retain"):
        assert re.search(rf"\b{name}\b", page, re.IGNORECASE)
    assert not re.search(r'(src|href)="https?://', page)


def test_snakemake_can_make_its_own_report(project, study):
    done = project.snakemake(study, "--report", "snakemake-report.zip")
    assert done.returncode == 0, done.stderr
    assert (project.folder / "snakemake-report.zip").stat().st_size > 10_000


def test_epoch_models_that_need_not_stay_go_and_nothing_runs_again(project, study):
    study["machine"] = {"keep_epoch_models": False}
    models = sorted(project.folder.glob("results/**/model"))
    epochs = [path for path in models if path.parent.name == "epoch1"]
    assert len(epochs) == 2
    done = project.snakemake(study, "--delete-temp-output")
    assert done.returncode == 0, done.stderr
    assert sorted(project.folder.glob("results/**/model")) == [path for path in models if path not in epochs]
    assert project.planned(study) == {}


def test_a_study_without_kept_epochs_runs(project, study):
    study["trajectory_epochs"] = []
    study["methods"].pop("palu")
    done = project.snakemake(study)
    assert done.returncode == 0, done.stderr
    assert "Report: results/small/report.html" in done.stdout


def test_a_run_is_scored_next_to_the_original_and_the_retain_model(finished):
    (run,) = (finished.folder / "results").rglob("npo/*/seed0/evaluation-*/reasons.json")
    (original,) = (finished.folder / "results").rglob("original/evaluation-*/reasons.json")
    lacks = {path: json.loads(path.read_text())["utility"] for path in (run, original)}
    # the study asks no classifier, whose fluency is the other half of utility
    assert lacks[run].startswith("fluency: no classifier was asked")
    assert lacks[original] == "no scores of the original model were given"
    assert json.loads(run.with_name("summary.json").read_text())["privacy"] is not None
