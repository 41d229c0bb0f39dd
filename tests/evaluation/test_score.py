import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from palu import tables
from palu.errors import UserError
from palu.evaluation import METRICS, module_of
from palu.evaluation.evaluate import evaluate
from palu.evaluation.evidence import EvidencePaths
from palu.evaluation.score import read_items, score
from palu.evaluation.settings import EvaluationSettings, FluencySettings
from palu.models import ModelSettings

SETTINGS = EvaluationSettings(max_new_tokens=4, fluency=FluencySettings(classifier=None))
OPTIONAL = {
    "far_accuracy",
    "near_accuracy",
    "knowledge_memorization_forget",
    "knowledge_memorization_forget_stemmed",
    "knowledge_memorization_retain",
    "knowledge_memorization_retain_stemmed",
    "forget_initiating_probability",
    "validation_initiating_probability",
    "validation_probability",
    "validation_rouge",
    "validation_span_leak",
    "validation_truth_ratio",
    "verbatim_memorization",
    "verbatim_memorization_stemmed",
}


@pytest.fixture(scope="module")
def evaluated(model_path, examples_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    evaluate(model_path, examples_path, folder, ModelSettings(), SETTINGS, run="untrained")
    return folder


def rescore(evaluated, examples_path, out, settings=SETTINGS, logprobs=None, spans=None, **rest):
    scored = score(paths(evaluated, examples_path, logprobs, spans), out, settings, **rest)
    assert json.loads((out / "summary.json").read_text()) == scored.summary
    assert json.loads((out / "reasons.json").read_text()) == scored.reasons
    return scored.summary, scored.reasons


def paths(evaluated, examples_path, logprobs=None, spans=None):
    return EvidencePaths(
        examples=examples_path,
        generations=evaluated / "generations.parquet",
        logprobs=logprobs or evaluated / "logprobs.parquet",
        spans=spans,
        gradient_norms=evaluated / "gradient_norms.parquet",
    )


def test_every_null_has_its_reason_and_every_number_none(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    reasons = json.loads((evaluated / "reasons.json").read_text())
    assert set(summary) == set(METRICS) - OPTIONAL
    assert set(reasons) == {name for name, value in summary.items() if value is None}
    assert reasons["real_authors_rouge"] == "benchmark made-up has no part real_authors"
    assert reasons["forget_quality"] == "no scores of a retain model were given"
    assert summary["model_utility"] is not None
    assert summary["model_utility_component_count"] == 6


def test_the_scores_table_holds_each_item_of_each_metric(evaluated):
    rows = tables.rows(evaluated / "scores.parquet", "scores")
    assert {row["run"] for row in rows} == {"untrained"}
    ratios = [row["example_id"] for row in rows if row["metric"] == "forget_truth_ratio"]
    assert ratios == [f"forget/{i}/original/0" for i in range(3)]
    losses = [row["example_id"] for row in rows if row["metric"] == "loss"]
    assert len(losses) == len(set(losses)) == 4 * 3 * 4 + 3


def test_a_model_that_equals_the_retain_model_has_forget_quality_one(evaluated, examples_path, tmp_path):
    for reference in ("scores.parquet", "open_unlearning.json"):
        summary, reasons = rescore(evaluated, examples_path, tmp_path, retain_scores_path=evaluated / reference)
        assert summary["forget_quality"] == 1
        assert summary["forget_quality_statistic"] == 0
        assert summary["privleak"] == 0
        assert summary["mia_reference"] == 0.5
        assert "forget_quality" not in reasons


def test_only_the_metrics_asked_for_are_in_the_summary(evaluated, examples_path, tmp_path):
    settings = EvaluationSettings(metrics=["model_utility", "forget_initiating_probability"])
    summary, reasons = rescore(evaluated, examples_path, tmp_path, settings)
    everything = json.loads((evaluated / "summary.json").read_text())
    assert summary == {"model_utility": everything["model_utility"], "forget_initiating_probability": None}
    assert reasons == {"forget_initiating_probability": "no spans were given"}


def test_spans_give_the_probability_of_initiating_tokens(evaluated, examples_path, tmp_path):
    spans = [
        {
            "example_id": "forget/0/original/0",
            "char_start": 13,
            "char_end": 17,
            "label": "x",
            "score": None,
            "tagger": "hand",
        }
    ]
    tables.write(tmp_path / "spans.parquet", "spans", spans, {})
    settings = EvaluationSettings(first_n=1)
    summary, _ = rescore(evaluated, examples_path, tmp_path, settings, spans=tmp_path / "spans.parquet")
    row = tables.rows(evaluated / "logprobs.parquet", "logprobs")[0]
    first = next(i for i, end in enumerate(row["char_ends"]) if end > 13)
    assert summary["forget_initiating_probability"] == pytest.approx(np.exp(row["log_probs"][first]))


def test_a_collapsed_row_nulls_what_depends_on_it_and_nothing_else(evaluated, examples_path, tmp_path):
    table = tables.read(evaluated / "logprobs.parquet", "logprobs")
    rows = table.to_pylist()
    broken = next(row for row in rows if row["example_id"] == "retain/1/perturbed/0")
    broken["log_probs"][1] = float("nan")
    provenance = tables.provenance(evaluated / "logprobs.parquet")
    path = tmp_path / "logprobs.parquet"
    tables.write(path, "logprobs", pa.Table.from_pylist(rows, tables.LOGPROBS), provenance)
    summary, reasons = rescore(evaluated, examples_path, tmp_path, logprobs=path)
    healthy = json.loads((evaluated / "summary.json").read_text())
    nulled = {name for name in summary if summary[name] is None and healthy[name] is not None}
    assert nulled == {"retain_truth_ratio", "model_utility"}
    assert "retain/1/perturbed/0: the log-probability of predicted token 1 is nan" in reasons["model_utility"]
    (row,) = (r for r in tables.rows(tmp_path / "scores.parquet", "scores") if r["reason"] and r["metric"] == "loss")
    assert row["example_id"] == "retain/1/perturbed/0"
    log = json.loads((tmp_path / "open_unlearning.json").read_text())
    assert log["retain_Q_A_PERT_Prob"]["value_by_index"]["1"]["avg_loss"][0] is None
    assert log["retain_Truth_Ratio"]["agg_value"] is None


def test_tables_of_two_models_are_not_mixed(evaluated, examples_path, tmp_path):
    table = tables.read(evaluated / "generations.parquet", "generations")
    provenance = tables.provenance(evaluated / "generations.parquet") | {"model": "another"}
    tables.write(tmp_path / "generations.parquet", "generations", table, provenance)
    mixed = replace(paths(evaluated, examples_path), generations=tmp_path / "generations.parquet")
    with pytest.raises(UserError, match=r"generations\.parquet: made with model 'another'"):
        score(mixed, tmp_path, SETTINGS)


def test_tables_of_other_examples_are_refused(evaluated, examples, tmp_path):
    path = tmp_path / "examples.parquet"
    tables.write(path, "examples", examples[:-1], {"benchmark": "made-up"})
    with pytest.raises(UserError, match=r"logprobs\.parquet: made with examples"):
        rescore(evaluated, path, tmp_path)


def test_scores_are_read_back_as_they_were(evaluated, tmp_path):
    items = read_items(evaluated / "scores.parquet")
    assert set(items["forget_rouge"]) == {f"forget/{i}/original/0" for i in range(3)}
    rows = tables.rows(evaluated / "scores.parquet", "scores")
    rows[0]["run"] = "another"
    tables.write(tmp_path / "scores.parquet", "scores", rows, {})
    with pytest.raises(UserError, match="holds the scores of 2 runs"):
        read_items(tmp_path / "scores.parquet")


def test_the_arithmetic_loads_no_torch():
    modules = ", ".join(["palu.evaluation.score", *sorted({module_of(name) for name in METRICS})])
    script = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
