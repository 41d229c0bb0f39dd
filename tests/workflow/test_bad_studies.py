"""A bad study stops before any job, with one line that a person can act on."""

import pytest
import yaml

from tests.workflow.conftest import STUDY, Project


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"methods": {"npo": {"betta": 1}}}, "study.yaml: methods.npo: unknown key 'betta' (did you mean 'beta'?)"),
        (
            {"benchmark": {"name": "tofo"}},
            "study.yaml: benchmark.name: unknown benchmark 'tofo' (did you mean 'tofu'?)",
        ),
        ({"training": {"epochs": "10"}}, "study.yaml: training.epochs: '10' should be a valid integer, not text"),
    ],
)
def test_a_bad_study_is_one_line_and_starts_nothing(empty, changes, line):
    done = empty.snakemake({**STUDY, **changes})
    assert done.returncode != 0
    assert line in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (empty.folder / "results").exists()


def test_an_exponent_without_a_dot_is_a_number(empty):
    plan = empty.planned({**STUDY, "training": {"epochs": 2, "learning_rate": "1e-5"}})
    assert plan["unlearn_model"] == 2


def test_the_plan_of_a_study_needs_nothing_but_its_file(empty):
    assert empty.planned(STUDY) == {
        "prepare_benchmark": 1,
        "finetune_model": 2,
        "tag_replies": 1,
        "cache_states": 1,
        "index_top_k": 1,
        "unlearn_model": 2,
        "infer_model": 6,
        "score_model": 6,
        "describe_study": 1,
        "report_study": 1,
    }


def test_a_key_that_stands_twice_is_one_line_and_starts_nothing(empty):
    (empty.folder / "twice.yaml").write_text(f"{yaml.safe_dump(STUDY)}\nseeds: [1]\nseeds: [2]\n")
    done = empty.snakemake(STUDY, "--configfile", "twice.yaml")
    assert done.returncode != 0
    assert "twice.yaml: not valid YAML: the key 'seeds' stands twice" in done.stdout + done.stderr
    assert not (empty.folder / "results").exists()
