"""The shipped questions on two subjects, data/moon and data/einstein: what is held out is held out."""

import itertools
import json
from pathlib import Path

import pytest

from palu.benchmarks import custom
from palu.benchmarks.base import GOLD
from palu.evaluation.words import contains, words_of

DATA = Path(__file__).resolve().parents[1] / "data"
SUBJECTS = ("moon", "einstein")
# Rows at least, by subject and file
SIZES = {
    "moon": {"forget": 24, "retain": 100, "near": 64, "far": 64},
    "einstein": {"forget": 24, "retain": 100, "near": 48, "far": 48},
}
FILES = tuple(SIZES["moon"])
# Of the words of two questions together, the share that both have: what counts as nearly the same question
SAME_QUESTION = 0.75


def records(subject: str, file: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / subject / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()]


def likeness(one: str, other: str) -> float:
    left, right = set(words_of(one)), set(words_of(other))
    return len(left & right) / len(left | right)


def held_out(subject: str) -> list[str]:
    asked = [record["paraphrased_prompt"] for record in records(subject, "forget")]
    return asked + [record["prompt"] for file in ("near", "far") for record in records(subject, file)]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_benchmark_reads_every_row_with_its_spans(subject, file):
    settings = custom.Settings.parse({"forget": str(DATA / subject / f"{file}.jsonl"), "retain": None}, "test")
    rows = [row for row in custom.examples(settings) if row["prompt_kind"] == "original"]
    assert len(rows) >= SIZES[subject][file]
    for row in rows:
        assert row["prompt"][-1] in "?."
        assert row["reply"][-1] == "."
        assert "\n" not in row["reply"]
        assert row[GOLD]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_question_occurs_twice_in_a_subject(subject):
    asked = [tuple(words_of(record["prompt"])) for file in FILES for record in records(subject, file)]
    asked += [tuple(words_of(record["paraphrased_prompt"])) for record in records(subject, "forget")]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_is_known_of_a_group_is_in_one_file(subject):
    groups = {file: {record["group"] for record in records(subject, file)} for file in FILES}
    for one, other in itertools.combinations(FILES, 2):
        assert not groups[one] & groups[other], (one, other)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_question_gives_its_answer_away(subject):
    for record in (record for file in FILES for record in records(subject, file)):
        for text in (span["text"] for span in record["spans"]):
            # whole words, so that an answer is compared with what is marked
            assert contains(words_of(record["reply"]), words_of(text)), record
            for question in (record["prompt"], record.get("paraphrased_prompt", "")):
                assert not contains(words_of(question), words_of(text)), record


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_paraphrase_is_nearly_a_question_that_is_trained_on(subject):
    trained = [record["prompt"] for file in ("forget", "retain") for record in records(subject, file)]
    for record in records(subject, "forget"):
        closest = max(trained, key=lambda prompt, asked=record["paraphrased_prompt"]: likeness(asked, prompt))
        assert likeness(record["paraphrased_prompt"], closest) < SAME_QUESTION, (record, closest)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_fact_to_forget_has_a_held_out_question(subject):
    facts = {record["group"] for record in records(subject, "forget")}
    assert len(facts) >= 10
    assert all("paraphrased_prompt" not in record for file in FILES[1:] for record in records(subject, file))


def test_settings_are_chosen_on_other_questions_than_those_that_are_reported():
    asked = {
        subject: {
            tuple(words_of(text))
            for text in [*held_out(subject), *(r["prompt"] for f in FILES[:2] for r in records(subject, f))]
        }
        for subject in SUBJECTS
    }
    assert not asked["moon"] & asked["einstein"]


def test_the_files_are_small():
    assert sum(path.stat().st_size for subject in SUBJECTS for path in (DATA / subject).iterdir()) < 120_000
