"""A whole evaluation against what the peer's evaluator printed for two small checkpoints: every item."""

import json

import pytest

from palu import benchmarks
from palu.cli import main
from palu.evaluation import open_unlearning
from palu.evaluation.evaluate import evaluate
from palu.evaluation.score import score_log
from palu.evaluation.settings import EvaluationSettings, FluencySettings
from palu.models import ModelSettings

# The peer's aggregates by our names
AGGREGATES = {
    "exact_memorization": "exact_memorization",
    "extraction_strength": "extraction_strength",
    "forget_probability": "forget_Q_A_Prob",
    "forget_rouge": "forget_Q_A_ROUGE",
    "forget_truth_ratio": "forget_truth_ratio",
    "model_utility": "model_utility",
    "real_authors_probability": "ra_Q_A_Prob_normalised",
    "real_authors_rouge": "ra_Q_A_ROUGE",
    "real_authors_truth_ratio": "ra_Truth_Ratio",
    "retain_probability": "retain_Q_A_Prob",
    "retain_rouge": "retain_Q_A_ROUGE",
    "retain_truth_ratio": "retain_Truth_Ratio",
    "world_facts_probability": "wf_Q_A_Prob_normalised",
    "world_facts_rouge": "wf_Q_A_ROUGE",
    "world_facts_truth_ratio": "wf_Truth_Ratio",
    **{f"mia_{attack}": f"mia_{attack}" for attack in open_unlearning.ATTACKS},
    "privleak": "privleak",
}
# The peer sums its softmax over 2,048 words one after the other in float32 (cross-entropy over transposed logits),
# which loses the smallest terms: its losses are up to 1.6e-5 below those of float64, which ours agree with. For the
# few losses below 0.1 that is more than the 1e-4 of their size that all else is held to.
LOSS_ERROR = 2e-5


@pytest.fixture(scope="module")
def tofu_path(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tofu")
    settings = benchmarks.load("tofu").Settings(source=str(shared / "data" / "tofu"), split="forget05")
    benchmarks.prepare("tofu", settings, folder / "examples.parquet", folder / "gold.parquet")
    return folder / "examples.parquet"


@pytest.mark.parametrize("name", ["full", pytest.param("retain", marks=pytest.mark.slow)])
def test_every_item_and_aggregate_is_what_the_peer_prints(shared, tofu_path, tmp_path, name):
    folder = shared / "oracles" / "tofu-eval-tiny"
    other = "retain" if name == "full" else "full"
    scored = evaluate(
        folder / f"model-{name}",
        tofu_path,
        tmp_path,
        ModelSettings(template="llama2-chat"),
        # the peer takes 0.5 in silence where it has no retain model's AUC
        EvaluationSettings(fluency=FluencySettings(classifier=None), retain_auc=0.5 if name == "retain" else None),
        retain_scores_path=folder / "retain.forget05.json" if name == "full" else None,
        reference_folder=folder / f"model-{other}",
    )
    expected = json.loads((folder / f"{name}.forget05.json").read_text())
    for ours, theirs in AGGREGATES.items():
        precision = {"abs": 1e-3} if ours.startswith("mia_") else {"rel": 1e-4}
        assert scored.summary[ours] == pytest.approx(expected[theirs]["agg_value"], **precision), ours
    # p-values of a KS test depend on the order of the items alone: equal, or off by a step
    printed = expected["forget_quality"]["agg_value"]
    assert scored.summary["forget_quality"] == (None if printed is None else pytest.approx(printed, rel=1e-9, abs=0))
    without_retain = {key for key in scored.summary if key.startswith("forget_quality")}
    # fluency has no classifier, utility no original model, and overall no utility
    lacking = {"fluency", "utility", "overall", "answer_nll", "retain_answer_nll"}
    unmarked = {"first_word_probability", "span_leak", "span_leak_paraphrase"}
    assert scored.reasons.keys() == lacking | unmarked | (set() if printed else without_retain | {"privacy"})

    log = json.loads((tmp_path / "open_unlearning.json").read_text())
    compared = list(item_entries(expected))
    assert len(compared) == 23 + 2 * len(open_unlearning.ATTACKS)
    ours = dict(item_entries(log))
    for place, entry in compared:
        assert ours[place]["agg_value"] == pytest.approx(entry["agg_value"], rel=1e-4), place
        assert list(ours[place]["value_by_index"]) == list(entry["value_by_index"]), place
        for index, cell in entry["value_by_index"].items():
            for field in cell.keys() - {"input"}:
                assert ours[place]["value_by_index"][index][field] == near(place, field, cell[field]), (place, index)


def item_entries(log):
    """(place, entry) of all entries with items; those of an attack are one level down."""
    for name, content in log.items():
        sides = [content] if "value_by_index" in content else [content.get(part) for part in ("forget", "holdout")]
        for side, entry in enumerate(sides):
            if entry is not None:
                yield (name, side), entry


def near(place, field, value):
    """What ours may be. A difference of two losses is as exact as they are."""
    if isinstance(value, str):
        return value
    floor = LOSS_ERROR if field == "avg_loss" or place[0] in {"mia_loss", "mia_min_k_plus_plus"} else 0
    floor = 2 * LOSS_ERROR if place[0] == "mia_reference" else floor
    return pytest.approx(value, rel=1e-4, abs=floor)


def test_without_a_retain_model_privleak_is_null_and_says_why(shared, tmp_path):
    summary = json.loads((shared / "oracles" / "tofu-eval-tiny" / "retain.forget05.json").read_text())
    kept = {name: summary[name] for name in summary if name not in {"privleak", "forget_quality"}}
    (tmp_path / "log.json").write_text(json.dumps(kept))
    silent = score_log(tmp_path / "log.json", tmp_path)
    assert silent.summary["privleak"] is None
    assert "retain_auc" in silent.reasons["privleak"]
    told = score_log(tmp_path / "log.json", tmp_path, retain_auc=0.5)
    assert told.summary["privleak"] == pytest.approx(summary["privleak"]["agg_value"], rel=1e-9)


def test_the_command_reads_the_benchmarks_own_spans_and_asks_the_original(model_path, tmp_path, capsys):
    village = ["--set", "people=8", "--set", "held_out_people=1", "--set", "forget_people=1"]
    settings = "{max_new_tokens: 2, gradient_norms: false, fluency: {classifier: null}}"
    out = tmp_path / "out"
    words = ["--model", str(model_path), "--original", str(model_path), "--settings", settings, "--out", str(out)]
    assert main(["evaluate", "--benchmark", "village", *village, *words]) == 0
    summary = json.loads((out / "summary.json").read_text())
    judged = ("first_word_probability", "span_leak", "span_leak_paraphrase", "empty_answers")
    assert all(0 <= summary[name] <= 1 for name in judged)
    assert summary["answer_nll"] > 0
    assert summary["retain_answer_nll"] > 0
    assert "span_leak_paraphrase" in capsys.readouterr().out
