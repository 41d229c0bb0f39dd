import json
import math

import pytest

from palu import cli, tables
from palu.errors import UserError
from palu.evaluation.base import Missing
from palu.evaluation.log_items import check_answers, derived, other_answers
from palu.evaluation.score import read_items, score_log
from tests.evaluation.cases import evidence, row

ANSWERS = ["Ann lives in Oslo.", "Bo paints.", "Cy is a judge."]
OF_OTHER_ITEMS = ["forget_quality", "forget_quality_statistic", "forget_quality_statistic_low"]
OF_OTHER_ITEMS += ["forget_quality_statistic_high", "privleak", "privacy"]


def log(answers=ANSWERS, shift=0.0, **more):
    """A log of one forget item for each answer, and of as many held-out ones."""
    count = range(len(answers))
    side = {"value_by_index": {str(i): {"score": i + shift} for i in count}}
    attacks = (f"mia_{attack}" for attack in ("loss", "zlib", "min_k", "min_k_plus_plus"))
    return {
        "forget_truth_ratio": {"value_by_index": {str(i): {"score": (i + 1) / 10 + shift} for i in count}},
        "forget_Q_A_ROUGE": {
            "value_by_index": {str(i): {"rougeL_recall": 0.5, "ground_truth": answers[i]} for i in count}
        },
        **{attack: {"forget": side, "holdout": side} for attack in attacks},
        **more,
    }


@pytest.fixture
def scored(tmp_path):
    def run(model, retain=None, original=None):
        paths = {"model": model, "retain": retain, "original": original}
        for name, content in paths.items():
            if isinstance(content, dict):
                (tmp_path / f"{name}.json").write_text(json.dumps(content))
                paths[name] = tmp_path / f"{name}.json"
        return score_log(paths["model"], tmp_path, paths["retain"], original_log_path=paths["original"])

    return run


@pytest.mark.parametrize(
    "content",
    [{"hello": 1}, {}, {"forget_quality": 0.1, "model_utility": 0.6}, {"forget_truth_ratio": {"value_by_index": {}}}],
    ids=["another file", "empty", "summary", "no item"],
)
@pytest.mark.parametrize("place", ["--logs", "--retain-logs", "--original-logs"])
def test_a_file_that_is_no_log_is_refused_in_one_line_that_says_what_a_log_holds(tmp_path, capsys, content, place):
    (tmp_path / "hello.json").write_text(json.dumps(content))
    (tmp_path / "log.json").write_text(json.dumps(log()))
    paths = {"--logs": tmp_path / "log.json"} | {place: tmp_path / "hello.json"}
    words = [str(word) for pair in paths.items() for word in pair]
    assert cli.main(["score-logs", *words, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"palu: error: {tmp_path / 'hello.json'}: is no log: ")
    assert '{"forget_Q_A_Prob": {"value_by_index": {"0": ...}}, ...}' in error
    assert not (tmp_path / "out").exists()


def test_a_log_of_another_number_of_items_leaves_every_comparison_null_with_that_reason(scored):
    found = scored(log(), log([*ANSWERS, "Di sings."]))
    for name in OF_OTHER_ITEMS:
        assert found.summary[name] is None, name
    assert found.reasons["forget_quality"] == "the 3 forget items are not those of the retain model's 4"
    assert found.reasons["privleak"] == "the 3 forget min_k items are not those of the retain model's 4"
    assert found.remark is None


def test_as_many_items_with_other_answers_leave_every_comparison_null_too(scored, tmp_path):
    found = scored(log(), log(["Di sings.", "Ed is from Rome.", "Flo is a baker."]))
    reason = f"{tmp_path / 'retain.json'} is of other items: forget_Q_A_ROUGE.0 has another true answer"
    assert {name: found.reasons[name] for name in OF_OTHER_ITEMS[:-1]} == dict.fromkeys(OF_OTHER_ITEMS[:-1], reason)
    assert found.reasons["privacy"] == f"mia_loss: {reason}"


def test_answers_that_a_tokenizer_spells_otherwise_are_the_same_items(scored):
    found = scored(log(), log([" ann lives in Oslo .", "Bo paints", "Cy i s a judge"], shift=0.01))
    assert found.summary["forget_quality"] == 1
    assert found.summary["privleak"] == 0
    assert found.summary["privacy"] == 1
    assert found.remark is None


def test_answers_differ_where_more_than_half_of_them_do():
    own = {"a": ["x"], "b": ["y"], "c": ["z"]}
    assert other_answers(own, own | {"a": ["q"]}) is None
    assert other_answers(own, own | {"b": ["q"], "c": ["q"]}) == "b"
    assert other_answers(own, {"d": ["q"]}) is None


def test_the_same_log_twice_is_remarked_on_in_one_line_of_the_terminal(tmp_path, capsys):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(log()))
    words = ["--logs", str(tmp_path / "a.json"), "--retain-logs", str(tmp_path / "b.json")]
    assert cli.main(["score-logs", *words, "--out", str(tmp_path / "out")]) == 0
    (remark,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Remark: "))
    assert remark.endswith("b.json hold the same scores: the model is compared with itself")


def test_a_scores_table_of_the_retain_model_is_compared_item_by_item_in_the_benchmarks_order(scored, tmp_path):
    rows = [
        {
            "run": "",
            "example_id": f"{part}/{3800 + i:05d}/original/0",
            "metric": metric,
            "value": value,
            "reason": None,
        }
        for metric, part, values in (
            ("forget_truth_ratio", "forget", [0.11, 0.21, 0.31]),
            ("forget_mia_min_k", "forget", [0.0, 1.0, 2.0]),
            ("holdout_mia_min_k", "holdout", [0.0, 1.0, 2.0]),
        )
        for i, value in enumerate(values)
    ]
    tables.write(tmp_path / "scores.parquet", "scores", rows, {})
    found = scored(log(), tmp_path / "scores.parquet")
    assert found.summary["forget_quality"] == 1
    assert found.summary["privleak"] == 0
    tables.write(tmp_path / "scores.parquet", "scores", rows[1:], {})
    found = scored(log(), tmp_path / "scores.parquet")
    assert found.reasons["forget_quality"] == "the 3 forget items are not those of the retain model's 2"


def test_a_log_of_other_answers_than_the_benchmarks_is_refused(tmp_path):
    own = evidence([row(f"forget/{i}/original/0", reply=reply) for i, reply in enumerate(ANSWERS)]).items
    path = tmp_path / "retain.json"
    path.write_text(json.dumps(log()))
    check_answers(path, own)
    assert set(read_items(path, own)["forget_truth_ratio"]) == {f"forget/{i}/original/0" for i in range(3)}
    path.write_text(json.dumps(log(["Di sings.", "Ed is from Rome.", ANSWERS[2]])))
    with pytest.raises(UserError, match=r"retain.json: forget_Q_A_ROUGE.0 is not answered as in the benchmark"):
        read_items(path, own)


def test_a_logs_losses_give_the_paraphrases_probability_and_the_share_of_the_truth():
    losses = {
        "forget/00000/original/0": 0.0,
        "forget/00000/paraphrase/0": -math.log(0.6),
        "forget/00000/perturbed/0": -math.log(0.1),
        "forget/00000/perturbed/1": -math.log(0.4),
        "forget/00001/paraphrase/0": -math.log(0.5),
        "forget/00002/paraphrase/0": -math.log(0.5),
        "forget/00002/perturbed/0": Missing("null"),
        "retain/00000/paraphrase/0": 0.0,
    }
    assert derived(losses) == {
        "forget_paraphrase_probability": {
            "forget/00000/original/0": pytest.approx(0.6),
            "forget/00001/original/0": pytest.approx(0.5),
            "forget/00002/original/0": pytest.approx(0.5),
        },
        # .6 / (.6 + sqrt(.1 * .4))
        "forget_truth_ratio_prob_mean": {
            "forget/00000/original/0": pytest.approx(0.75),
            "forget/00002/original/0": Missing("null"),
        },
    }


def test_the_aggregates_come_from_logs_too(scored):
    def of(value):
        return {"value_by_index": {"0": value}}

    def whole(kept, fluent, shift):
        parts = {f"{prefix}_Q_A_ROUGE": of({"rougeL_recall": kept}) for prefix in ("retain", "ra", "wf")}
        parts |= {"retain_Q_A_Prob": of({"avg_loss": -math.log(kept), "prob": kept})}
        parts |= {f"{prefix}_Q_A_Prob_normalised": of({"prob": kept}) for prefix in ("ra", "wf")}
        parts |= {f"{prefix}_Truth_Ratio": of({"score": 1 - kept}) for prefix in ("retain", "ra", "wf")}
        return log(
            ANSWERS[:1],
            shift,
            **parts,
            exact_memorization=of({"score": 0.75}),
            extraction_strength=of({"score": 0.5}),
            forget_Q_A_PARA_Prob=of({"avg_loss": -math.log(0.2)}),
            forget_Q_A_PERT_Prob=of({"avg_loss": [-math.log(0.2)]}),
            forget_Q_A_gibberish=of({"score": fluent}),
        )

    found = scored(whole(0.5, 0.5, 0.0), whole(0.5, 0.5, 0.5), whole(0.8, 0.8, 1.0)).summary
    # 1 - .75, 1 - .5, 1 - .2, 1 - .2 / .4
    memorization = 4 / (4 + 2 + 1.25 + 2)
    assert found["memorization"] == pytest.approx(memorization)
    assert found["privacy"] == 1
    assert found["utility"] == pytest.approx(0.5 / 0.8)
    assert found["overall"] == pytest.approx(3 / (1 / memorization + 1 + 1.6))
