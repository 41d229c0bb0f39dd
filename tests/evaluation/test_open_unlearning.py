import json
import math

import pytest

from palu.errors import UserError
from palu.evaluation.base import Missing
from palu.evaluation.open_unlearning import read_log
from palu.evaluation.score import score_log

LOGS = [
    ("Llama-2-7b-chat-hf.full.forget05", "Llama-2-7b-chat-hf.retain95"),
    ("Llama-3.2-1B-Instruct.full.forget05", "Llama-3.2-1B-Instruct.retain95"),
    ("Llama-3.2-1B-Instruct.full.forget01", "Llama-3.2-1B-Instruct.retain99"),
]
# Our name of what the peer's summary calls otherwise
NAMES = {"forget_Q_A_Prob": "forget_probability", "forget_Q_A_ROUGE": "forget_rouge"}


def test_entries_become_item_scores(tmp_path):
    log = {
        "forget_Q_A_Prob": {"agg_value": 0.5, "value_by_index": {"3": {"prob": 0.5, "avg_loss": math.log(2)}}},
        "forget_Q_A_PERT_Prob": {"value_by_index": {"3": {"avg_loss": [1.0, 2.0]}}},
        "ra_Q_A_Prob_normalised": {"value_by_index": {"0": {"prob": None}}},
        "something_else": 1,
    }
    (tmp_path / "log.json").write_text(json.dumps(log))
    items = read_log(tmp_path / "log.json")
    assert items["forget_probability"] == {"forget/00003/original/0": 0.5}
    assert items["loss"] == {
        "forget/00003/original/0": math.log(2),
        "forget/00003/perturbed/0": 1.0,
        "forget/00003/perturbed/1": 2.0,
    }
    (missing,) = items["real_authors_probability"].values()
    assert isinstance(missing, Missing)
    assert missing.reason.endswith("ra_Q_A_Prob_normalised.value_by_index.0.prob is null")


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ([], "expected a mapping"),
        ({"forget_Q_A_Prob": 0.5}, "forget_Q_A_Prob has no value_by_index"),
        ({"forget_Q_A_Prob": {"value_by_index": {"a": {}}}}, "forget_Q_A_Prob has no value_by_index"),
        (
            {"forget_truth_ratio": {"value_by_index": {"0": {"score": "high"}}}},
            "forget_truth_ratio.value_by_index.0.score: 'high' is not a number",
        ),
    ],
)
def test_a_file_of_another_layout_is_refused_with_its_place(tmp_path, log, message):
    (tmp_path / "log.json").write_text(json.dumps(log))
    with pytest.raises(UserError, match=f"log.json: .*{message}"):
        read_log(tmp_path / "log.json")


def test_a_log_without_a_part_leaves_the_utility_without_a_value(tmp_path):
    log = {"forget_truth_ratio": {"value_by_index": {"0": {"score": 0.5}, "1": {"score": 0.25}}}}
    (tmp_path / "log.json").write_text(json.dumps(log))
    summary = score_log(tmp_path / "log.json", tmp_path / "out", tmp_path / "log.json").summary
    assert summary["forget_quality"] == 1
    assert summary["forget_truth_ratio"] == pytest.approx(0.375)
    assert summary["model_utility"] is None
    reasons = json.loads((tmp_path / "out" / "reasons.json").read_text())
    assert reasons["model_utility"] == "retain_probability: no item has a value of retain probability"


@pytest.mark.parametrize(("name", "retain"), LOGS)
def test_re_aggregated_logs_of_real_models_give_the_printed_summaries(shared, tmp_path, name, retain):
    folder = shared / "oracles" / "tofu-logs"
    summary = score_log(folder / f"{name}.json", tmp_path, folder / f"{retain}.json").summary
    printed = json.loads((folder / f"{name}.summary.json").read_text())
    ours = {NAMES.get(key, key): value for key, value in printed.items() if NAMES.get(key, key) in summary}
    assert len(ours) == len(printed)
    for key, value in ours.items():
        assert summary[key] == pytest.approx(value, rel=1e-9, abs=0), key


def test_the_original_row_of_the_papers_table(shared, tmp_path):
    folder = shared / "oracles" / "tofu-logs"
    name, retain = LOGS[0]
    summary = score_log(folder / f"{name}.json", tmp_path, folder / f"{retain}.json").summary
    assert summary["forget_quality"] == pytest.approx(5.86730162802883e-14, rel=1e-9, abs=0)
    assert summary["forget_quality_statistic"] == pytest.approx(0.39)
    assert summary["model_utility"] == pytest.approx(0.6275553508047139, rel=1e-9)
    assert summary["exact_memorization"] == pytest.approx(0.9987873476743698, rel=1e-9)


def test_the_arrays_of_the_original_code_give_its_utility_and_forget_quality(shared):
    from palu.evaluation import forget_quality, utility
    from palu.evaluation.base import Scope
    from palu.evaluation.open_unlearning import NORMALISED
    from palu.evaluation.probability import EPSILON
    from palu.evaluation.truth_ratio import ratio

    told = json.loads((shared / "oracles" / "tofu-logs" / "tofu-paper-llama2-7b.json").read_text())

    def items_of(log):
        items = {}
        for part, columns in log.items():
            options = zip(columns["answer_loss"], columns["wrong_losses"], strict=True)
            own = [(math.exp(-loss), [math.exp(-other) for other in wrong]) for loss, wrong in options]
            shares = [p / (p + sum(wrong) + EPSILON) if part in NORMALISED else p for p, wrong in own]
            ratios = [ratio(r, w) for r, w in zip(columns["correct_loss"], columns["wrong_losses"], strict=True)]
            columns = {"probability": shares, "rouge": columns["rougeL_recall"], "truth_ratio": ratios}
            items |= {f"{part}_{name}": {str(i): v for i, v in enumerate(values)} for name, values in columns.items()}
        return items

    items = {name: items_of(log) for name, log in told["logs"].items()}
    for name, expected in told["expected"].items():
        scope = Scope(name, frozenset(), partial=True)
        assert utility.summary(items[name], scope)["model_utility"] == pytest.approx(expected["model_utility"])
        if "forget_quality_of_full" in expected:
            samples = [items[model]["forget_truth_ratio"].values() for model in ("full", name)]
            p_value, statistic = forget_quality.kolmogorov_smirnov(*samples)
            printed = expected["forget_quality_of_full"]
            assert p_value == pytest.approx(printed["p_value"], rel=1e-9, abs=0)
            assert statistic == pytest.approx(printed["statistic"])
            # the original code also compared 300 rows of forget10 with the 200 of forget05
            found = forget_quality.summary(items["full"], Scope(name, frozenset(), items[name], partial=True))
            same = printed["n_full"] == printed["n_retain"]
            reason = f"the 300 forget items are not those of the retain model's {printed['n_retain']}"
            assert found["forget_quality"] == (p_value if same else Missing(reason))
