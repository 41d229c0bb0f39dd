"""JSON that others wrote, and what a study's own folders hold, is read or refused in one line."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palu import tables
from palu.benchmarks.alternates import write_alternates
from palu.cli import main
from palu.evaluation.score import read_items
from palu.files import read_json
from palu.reporting.index import RunEntry
from palu.reporting.load import Evaluation, Run
from tests.fuzz.outcomes import (
    JSON_VALUES,
    NUMBERS,
    damaged,
    examples,
    listing,
    refusal,
    refusal_that_leaves,
    watched,
)

CELLS = st.dictionaries(
    st.sampled_from(["avg_loss", "prob", "rougeL_recall", "rougeL_f1", "score", "x"]),
    st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3), JSON_VALUES),
    max_size=3,
)
ENTRIES = st.sampled_from(
    [
        *("forget_Q_A_Prob", "forget_Q_A_PARA_Prob", "forget_Q_A_PERT_Prob", "forget_Q_A_ROUGE", "forget_truth_ratio"),
        *("retain_Q_A_Prob", "ra_Q_A_Prob_normalised", "wf_Q_A_Prob_normalised", "ra_Truth_Ratio", "mia_min_k"),
        *("mia_loss", "extraction_strength", "forget_verbmem_ROUGE", "retain_knowmem_ROUGE", "privleak", "x"),
    ]
)
INDICES = st.sampled_from(["0", "1", "2", "00", "-1", "x", "", "٣", "²", "9" * 5000])
BY_INDEX = st.fixed_dictionaries({"agg_value": NUMBERS, "value_by_index": st.dictionaries(INDICES, CELLS, max_size=3)})
LOGS = st.dictionaries(
    ENTRIES,
    st.one_of(BY_INDEX, st.fixed_dictionaries({"forget": BY_INDEX, "holdout": BY_INDEX}), JSON_VALUES),
    max_size=5,
)
FILES = st.one_of(
    st.builds(lambda value: json.dumps(value).encode(), st.one_of(LOGS, JSON_VALUES)),
    st.binary(max_size=30),
    st.sampled_from([b"", b"[" * 3000, b'{"a":' * 3000, b"1" * 5000, b"\xef\xbb\xbf{}", b"NaN", b'"\\ud800"', b"{}x"]),
)


def sound_log(items=3):
    """A log in the peer's layout with all that forget quality and model utility are made of."""
    log = {}
    for prefix in ("forget", "retain", "ra", "wf"):
        plain = {str(i): {"prob": 0.5, "avg_loss": 0.7, "rougeL_recall": 0.4, "score": 0.9} for i in range(items)}
        wrong = {str(i): {"prob": [0.1, 0.2], "avg_loss": [2.0, 1.5]} for i in range(items)}
        for name in ("Q_A_Prob", "Q_A_PARA_Prob", "Q_A_ROUGE", "Q_A_Prob_normalised", "Truth_Ratio"):
            log[f"{prefix}_{name}"] = {"agg_value": 0.5, "value_by_index": copy.deepcopy(plain)}
        log[f"{prefix}_Q_A_PERT_Prob"] = {"agg_value": 0.5, "value_by_index": wrong}
    side = {"agg_value": 0.5, "value_by_index": {str(i): {"score": 0.1 * i} for i in range(items)}}
    log["mia_min_k"] = {"auc": 0.5, "forget": side, "holdout": side}
    log["forget_truth_ratio"] = log.pop("forget_Truth_Ratio")
    return log


@examples(80)
@given(st.one_of(FILES, LOGS.map(lambda log: json.dumps(sound_log() | log).encode())), FILES)
@example(json.dumps({"mia_loss": {"forget": None}}).encode(), b"{}")
@example(json.dumps({"forget_Q_A_Prob": {"value_by_index": {"0": {"avg_loss": 10**400}}}}).encode(), b"{}")
@example(json.dumps({"forget_Q_A_Prob": {"value_by_index": {"9" * 5000: {"avg_loss": 1}}}}).encode(), b"{}")
@example(json.dumps({"forget_Q_A_Prob": {"value_by_index": {"0": {"avg_loss": -1e4}}}}).encode(), b"{}")
def test_any_log_is_scored_or_refused_in_one_line(tmp_path_factory, capsys, log, retain):
    folder = tmp_path_factory.getbasetemp() / "logs"
    for path in folder.rglob("*.*"):
        path.unlink()
    folder.mkdir(exist_ok=True)
    (folder / "TOFU_EVAL.json").write_bytes(log)
    (folder / "retain.json").write_bytes(retain)
    for more in ([], ["--retain-logs", str(folder / "retain.json")]):
        before = listing(folder)
        command = ["score-logs", "--logs", str(folder / "TOFU_EVAL.json"), "--out", str(folder / "out"), *more]
        with watched():
            status = main(command)
        error = capsys.readouterr().err
        if status:
            assert error.startswith(f"palu: error: {folder}")
            assert error.count("\n") == 1
            assert listing(folder) == before
        else:
            assert json.loads((folder / "out" / "summary.json").read_text()).keys()


@examples(60)
@given(st.randoms(use_true_random=False))
def test_a_damaged_log_is_scored_or_refused_in_one_line(tmp_path_factory, chance):
    path = tmp_path_factory.getbasetemp() / "damaged_log.json"
    path.write_bytes(damaged(json.dumps(sound_log()).encode(), chance))
    told = refusal(lambda: read_items(path))
    assert told is None or told.startswith(str(path))


@examples(60)
@given(FILES)
def test_any_summary_and_record_of_a_run_is_read_or_refused_in_one_line(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "evaluation"
    folder.mkdir(exist_ok=True)
    for name in ("summary.json", "reasons.json", "run.json"):
        (folder / name).write_bytes(content)
    evaluation = Evaluation(folder)
    entry = RunEntry(label="a", method="palu", seed=0, folder=str(folder), evaluation=str(folder))
    for action in (
        lambda: [evaluation.measured(name) for name in (*evaluation.summary, "absent")],
        lambda: evaluation.reasons,
        lambda: Run(entry, evaluation, ()).number("vocabulary"),
    ):
        told = refusal(action)
        assert told is None or told.startswith(str(folder))


@examples(30)
@given(st.binary(max_size=80), st.integers(-1, 3))
def test_any_file_of_refusals_gives_other_replies_or_one_line(tmp_path_factory, content, count):
    folder = tmp_path_factory.getbasetemp() / "alternates"
    folder.mkdir(exist_ok=True)
    (folder / "refusals.txt").write_bytes(content)
    row = {"example_id": "forget/0", "item_id": "a", "reply_index": 0, "prompt": "Who?", "reply": "Ada.", "group": "a"}
    kinds = {"reply_kind": "original", "prompt_kind": "original", "part": "forget", "source_revision": "1"}
    tables.write(folder / "rows.parquet", "examples", [row | kinds], {})
    out = folder / "made.parquet"
    out.unlink(missing_ok=True)
    told = refusal_that_leaves(
        folder, lambda: write_alternates(folder / "rows.parquet", folder / "refusals.txt", count, out)
    )
    assert (told is None) == out.is_file()


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5000, "{", "\ufeff{}"])
def test_json_that_cannot_be_read_is_one_line_with_its_file(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert refusal(lambda: read_json(path)).startswith(f"{path}: not valid JSON: ")


def test_a_folder_in_the_place_of_a_json_file_is_one_line(tmp_path):
    assert refusal(lambda: read_json(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_name_with_a_line_end_is_told_in_one_line(tmp_path):
    path = Path(f"{tmp_path}/a\nb\x1b[2J.json")
    assert refusal(lambda: read_json(path)) == f"{tmp_path}/a\\nb\\x1b[2J.json: no such file"
