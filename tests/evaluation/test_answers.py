import math

import numpy as np
import pytest
import torch

from palu import tables
from palu.errors import UserError
from palu.evaluation import answers
from palu.evaluation import infer as inference
from palu.evaluation.base import EMPTY, Missing
from palu.evaluation.evaluate import evaluate
from palu.evaluation.judge_answers import _score, judge_answers
from palu.evaluation.settings import EvaluationSettings, FluencySettings
from palu.models import ModelSettings, load_model, load_tokenizer
from tests.evaluation.cases import evidence, row

MODEL = ModelSettings(template="plain", max_length=200)
SETTINGS = EvaluationSettings(max_new_tokens=4, fluency=FluencySettings(classifier=None))
ANSWERS = {
    "forget/0/original/0": "Ann lives in Rome.",
    "forget/1/original/0": "  \n",
    "forget/2/original/0": "no",
    "retain/0/original/0": "Ann",
}


@pytest.fixture
def generations_path(examples_path, tmp_path):
    path = tmp_path / "generations.parquet"
    rows = [{"example_id": key, "generation": text, "token_count": 1} for key, text in ANSWERS.items()]
    facts = {"model": "unlearned", "examples": tables.content_digest(examples_path)}
    tables.write(path, "generations", rows, facts)
    return path


def test_means_over_answers_leave_the_empty_ones_out():
    rows = [row(f"forget/{i}/original/0") for i in range(3)] + [row("retain/0/original/0")]
    losses = {rows[0]["example_id"]: 2.0, rows[1]["example_id"]: EMPTY, rows[2]["example_id"]: 5.0}
    case = evidence(rows, answer_losses=losses | {rows[3]["example_id"]: 1.5})
    items = answers.items(case)
    assert items["answer_nll"] == losses
    assert answers.summary(items, case.scope) == {"answer_nll": 3.5, "retain_answer_nll": 1.5}


def test_a_model_of_starts_of_documents_is_judged_on_how_it_goes_on_and_on_questions_to_retain():
    rows = [row("forget/0/original/0", prompt=""), row("verbmem/0/original/0"), row("knowmem_retain/0/original/0")]
    case = evidence(rows, answer_losses={"verbmem/0/original/0": 2.0, "knowmem_retain/0/original/0": 3.0})
    assert answers.summary(answers.items(case), case.scope) == {"answer_nll": 2.0, "retain_answer_nll": 3.0}


def test_it_is_null_with_its_reason_where_there_is_nothing_to_measure():
    rows = [row("forget/0/original/0"), row("forget/1/original/0")]
    silent = evidence(rows)
    found = answers.summary(answers.items(silent), silent.scope)
    assert found["answer_nll"] == Missing("no original model was given to judge the answers")
    assert found["retain_answer_nll"] == Missing("benchmark made-up has no part retain", absent=True)
    empty = evidence(rows, answer_losses={example["example_id"]: EMPTY for example in rows})
    assert answers.summary(answers.items(empty), empty.scope)["answer_nll"] == EMPTY
    cut = evidence(rows, answer_losses={rows[0]["example_id"]: 1.0})
    reason = answers.summary(answers.items(cut), cut.scope)["answer_nll"].reason
    assert "there is no value of forget/1/original/0" in reason


def test_the_loss_of_an_answer_is_that_of_its_own_tokens_behind_the_prompt(
    model_path, examples, examples_path, generations_path, tmp_path
):
    judge_answers(model_path, examples_path, generations_path, tmp_path / "answers.parquet", MODEL, SETTINGS)
    found = {r["example_id"]: r for r in tables.rows(tmp_path / "answers.parquet", "scores")}
    assert list(found) == list(ANSWERS)
    model, tokenizer = load_model(model_path, "float32"), load_tokenizer(model_path)
    prompts = {r["example_id"]: r["prompt"] for r in examples}
    for example_id, answer in ANSWERS.items():
        if not answer.strip():
            assert (found[example_id]["value"], found[example_id]["reason"]) == (None, "the answer is empty")
            continue
        before = f"Question: {prompts[example_id]}\nAnswer:"
        ids = torch.tensor([tokenizer(f"{before} {answer}")["input_ids"]])
        start = len(tokenizer(before)["input_ids"])
        ids = ids[:, :-1] if ids[0, -1] == tokenizer.eos_token_id else ids
        with torch.no_grad():
            log_probs = model(ids).logits[0].log_softmax(-1)
        wanted = [-log_probs[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1])]
        assert found[example_id]["value"] == pytest.approx(np.mean(wanted), rel=1e-4)
        assert found[example_id]["reason"] is None


def test_a_model_that_says_nothing_has_a_reason_for_each_answer(model_path, examples_path, generations_path, tmp_path):
    silent = tables.read(generations_path, "generations").to_pylist()
    facts = {"model": "unlearned", "examples": tables.content_digest(examples_path)}
    tables.write(generations_path, "generations", [{**r, "generation": ""} for r in silent], facts)
    judge_answers(model_path, examples_path, generations_path, tmp_path / "answers.parquet", MODEL, SETTINGS)
    rows = tables.rows(tmp_path / "answers.parquet", "scores")
    assert [(r["value"], r["reason"]) for r in rows] == [(None, "the answer is empty")] * len(ANSWERS)


def test_a_loss_that_is_not_finite_is_a_reason():
    assert _score("a", math.nan)["reason"] == "its loss under the original is nan"
    assert _score("a", math.nan)["value"] is None


def test_the_table_names_who_answered_and_who_judged_and_is_made_once(
    model_path, examples_path, generations_path, tmp_path, monkeypatch
):
    out = tmp_path / "answers.parquet"
    judge_answers(model_path, examples_path, generations_path, out, MODEL, SETTINGS)
    facts = tables.provenance(out)
    assert facts["model"] == "unlearned"
    assert facts["judge"] != "unlearned"
    monkeypatch.setattr(inference, "load_model", lambda *_: pytest.fail("the table is there"))
    judge_answers(model_path, examples_path, generations_path, out, MODEL, SETTINGS)


def test_answers_to_other_examples_are_refused(model_path, examples_path, generations_path, tmp_path):
    tables.write(generations_path, "generations", [], {"model": "unlearned", "examples": "others"})
    with pytest.raises(UserError, match=r"generations\.parquet: made with examples 'others'"):
        judge_answers(model_path, examples_path, generations_path, tmp_path / "answers.parquet", MODEL, SETTINGS)


def test_an_evaluation_with_the_original_has_both_numbers_and_each_answer_in_its_scores(
    model_path, examples_path, tmp_path
):
    scored = evaluate(model_path, examples_path, tmp_path, MODEL, SETTINGS, original_folder=model_path)
    rows = tables.rows(tmp_path / "scores.parquet", "scores")
    for name, part in (("answer_nll", "forget"), ("retain_answer_nll", "retain")):
        own = [r for r in rows if r["metric"] == name]
        assert [r["example_id"] for r in own] == [f"{part}/{i}/original/0" for i in range(3)]
        values = [r["value"] for r in own if r["reason"] != EMPTY.reason]
        assert scored.summary[name] == pytest.approx(math.fsum(values) / len(values))
