"""The studies of published checkpoints are what docs/recipes.md says that they are."""

import re
from collections import Counter
from functools import reduce
from pathlib import Path

import pytest
import yaml

from palu.study import Study
from palu.training.settings import steps_per_epoch

ROOT = Path(__file__).resolve().parents[1]
# How many methods each has, 25 tries for every one
METHODS = {"tofu-llama2-7b": 8, "tofu-llama3.1-8b": 8, "muse-news": 7, "muse-books": 7}


def plain(name):
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))


def parsed(name, **benchmark):
    values = plain(name)
    return Study.parse(values | {"benchmark": values["benchmark"] | benchmark}, name)


def table_of(name):
    """Key -> what the table says the study has."""
    sections = re.split(r"^## ", (ROOT / "docs/recipes.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (own,) = [section for section in sections if f"{name}.yaml" in section.partition("\n")[0]]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in own.splitlines() if line[:3] == "| `"]
    return {row[0].strip("`"): yaml.safe_load(row[3].strip("`")) for row in rows}


@pytest.mark.parametrize("name", METHODS)
def test_the_table_has_the_values_of_the_file(name):
    values, table = plain(name), table_of(name)
    assert len(table) > 20
    assert {key: reduce(lambda found, part: found[part], key.split("."), values) for key in table} == table


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_as_many_tries_and_no_setting_is_tried_twice(name):
    runs = parsed(name).runs
    tries = Counter(run.label for run in runs)
    assert (len(tries), set(tries.values())) == (METHODS[name], {25})
    assert len({(run.method, run.key) for run in runs}) == len(runs)
    for run in runs:
        if run.method == "palu":
            assert run.settings.common_weight == run.settings.retain_weight == run.varied["alpha"]


@pytest.mark.parametrize("name", METHODS)
def test_every_epoch_is_evaluated(name):
    study = parsed(name)
    last = {run.training.epochs for run in study.runs if run.method != "pdu"}
    assert [*study.trajectory_epochs, *last] == list(range(1, 11))


@pytest.mark.parametrize(("name", "tpo", "pdu_epochs"), [("tofu-llama2-7b", 0.32, 10), ("tofu-llama3.1-8b", 0.27, 30)])
def test_the_rivals_of_tofu_have_their_published_values(name, tpo, pdu_epochs):
    study = parsed(name)
    assert {(run.settings.beta, run.settings.forget_weight) for run in study.runs if run.method == "simnpo"} == {
        (2.5, 0.1375)
    }
    assert {run.settings.beta for run in study.runs if run.method == "tpo"} == {tpo}
    assert {run.training.epochs for run in study.runs if run.method == "pdu"} == {pdu_epochs}
    assert {run.tagger.settings.path for run in study.runs if run.tagger} == {"data/tofu-gpt.jsonl"}


@pytest.mark.parametrize(("rows", "steps"), [(200, 60), (40, 10), (400, 120)])
def test_tofu_makes_as_many_steps_as_the_authors_trainer(rows, steps):
    training = parsed("tofu-llama2-7b").runs[0].training
    assert steps_per_epoch(rows, training.batch_size, training.last_step) * training.epochs == steps


def test_the_authors_own_split_is_one_setting_away():
    assert parsed("tofu-llama2-7b").benchmark.settings.validation == "forget10"
    assert parsed("tofu-llama2-7b", validation=None).benchmark.settings.validation is None


@pytest.mark.parametrize(("name", "beta", "limit"), [("muse-news", 0.7, 1.5), ("muse-books", 0.75, 0.1)])
def test_what_differs_between_the_corpora_of_muse(name, beta, limit):
    study = parsed(name)
    assert {run.settings.beta for run in study.runs if run.method == "simnpo"} == {beta}
    assert {run.settings.retain_limit for run in study.runs if run.method == "pdu"} == {limit}
    assert {run.training.schedule for run in study.runs} == {"constant"}
