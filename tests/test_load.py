"""What a stage holds does not grow with the texts that it goes through, nor a start of Snakemake faster than the runs.

Sizes are counted, not timed: bytes that Python and Arrow have allocated at most, and calls of functions.
"""

import cProfile
import pstats
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from palu import stored, stretches, tables
from palu.evaluation import infer as inference
from palu.evaluation.evidence import EvidencePaths
from palu.evaluation.infer import infer
from palu.evaluation.score import score
from palu.evaluation.settings import EvaluationSettings
from palu.models import Architecture, ModelSettings, build_from_scratch, save_model
from palu.study import Study
from palu.tagging import load, tag
from tests.evaluation.cases import row

ROOT = Path(__file__).resolve().parents[1]
# Long, with few words that a tagger takes for sensitive
REPLY = "Ann is from Oslo." + " And so it is with all of them." * 15
FEW, MANY = 64, 192
# Digests of ids, and numbers of what was found and measured; a row of dicts and texts has several thousand
MOST_BYTES_A_ROW = 1500


@pytest.fixture
def small_stretches(monkeypatch):
    """As if the tables were large: what is held at once is a few rows."""
    monkeypatch.setattr(stored, "STRETCH_ROWS", 16)
    monkeypatch.setattr(stored, "HELD_STRETCHES", 2)
    monkeypatch.setattr(stored, "WRITTEN_ROWS", 64)
    monkeypatch.setattr(stretches, "WINDOW_ROWS", 64)


def write_tables(folder, count):
    """The tables that an evaluation of `count` rows reads, in small row groups."""
    rows = [row(f"forget/{i}/original/0", prompt=f"Who is {i}?", reply=REPLY) for i in range(count)]
    for number, example in enumerate(rows):
        example["item_id"] = f"item/{number}"
    stored.write_stream(folder / "examples.parquet", "examples", groups(rows, tables.EXAMPLES), {"benchmark": "made"})
    same = {"examples": tables.content_digest(folder / "examples.parquet"), "model": "m"}
    tokens = 40
    read = [
        {"example_id": example["example_id"], "token_ids": [1] * tokens, "log_probs": [-0.5] * tokens}
        | {"argmax_hits": [True] * tokens, "char_starts": [0] * tokens, "char_ends": [3] * tokens, "end_count": 0}
        for example in rows
    ]
    stored.write_stream(folder / "logprobs.parquet", "logprobs", groups(read, tables.LOGPROBS), same)
    said = [{"example_id": example["example_id"], "generation": REPLY, "token_count": 9} for example in rows]
    stored.write_stream(folder / "generations.parquet", "generations", groups(said, tables.GENERATIONS), same)


def groups(rows, schema):
    return (pa.Table.from_pylist(rows[i : i + 64], schema=schema) for i in range(0, len(rows), 64))


def most_bytes(run):
    """The most that Python held while `run` ran, beyond what it held before."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def tag_rows(folder):
    tag("novelty", load("novelty").Settings(), folder / "examples.parquet", None, folder / "spans.parquet")


def score_rows(folder):
    paths = EvidencePaths(*(folder / f"{name}.parquet" for name in ("examples", "generations", "logprobs")))
    score(paths, folder / "out", EvaluationSettings(gradient_norms=False))


@pytest.mark.usefixtures("small_stretches")
@pytest.mark.parametrize("stage", [tag_rows, score_rows])
def test_a_stage_holds_numbers_of_a_row_and_not_its_texts(tmp_path, stage):
    held = {}
    for count in (2, FEW, MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        write_tables(folder, count)
        if count == 2:
            # the first one loads libraries
            stage(folder)
        else:
            held[count] = most_bytes(lambda folder=folder: stage(folder))
    assert (held[MANY] - held[FEW]) / (MANY - FEW) < MOST_BYTES_A_ROW


def test_a_model_sees_a_window_of_rows_and_finds_what_it_finds_of_all(tmp_path, monkeypatch):
    rows = [
        row(f"{part}/{i}/original/0", reply="Ann lives in Oslo. " * (1 + i % 3))
        for part in ("forget", "holdout")
        for i in range(6)
    ]
    tables.write(tmp_path / "examples.parquet", "examples", rows, {"benchmark": "made"})
    shape = Architecture(vocab_size=280, hidden_size=16, intermediate_size=16, layers=1, heads=2, kv_heads=2)
    save_model(*build_from_scratch(shape, [each["reply"] for each in rows], seed=0), tmp_path / "model")
    settings = EvaluationSettings(max_new_tokens=2)

    def evaluated(name):
        infer(tmp_path / "model", tmp_path / "examples.parquet", tmp_path / name, ModelSettings(), settings)
        return [
            tables.rows(tmp_path / name / f"{table}.parquet", kind)
            for table, kind in (("generations", "generations"), ("logprobs", "logprobs"), ("gradient_norms", "scores"))
        ]

    generations, logprobs, norms = evaluated("whole")
    seen = []
    real = inference.encode
    monkeypatch.setattr(inference, "encode", lambda window, *rest: seen.append(len(window)) or real(window, *rest))
    monkeypatch.setattr(stretches, "WINDOW_ROWS", 4)
    own_generations, own_logprobs, own_norms = evaluated("in windows")
    assert max(seen) == 4
    assert own_generations == generations
    for own, whole in zip(own_logprobs, logprobs, strict=True):
        assert own["example_id"] == whole["example_id"]
        assert own["log_probs"] == pytest.approx(whole["log_probs"], rel=1e-5)
    for own, whole in zip(own_norms, norms, strict=True):
        assert own["value"] == pytest.approx(whole["value"], rel=1e-4)


def test_reading_a_study_takes_calls_in_proportion_to_its_runs():
    values = yaml.safe_load((ROOT / "config" / "village.yaml").read_text(encoding="utf-8"))

    def calls(rates):
        raw = values | {"methods": {"gd": {"learning_rate": [1e-4 * (i + 1) for i in range(rates)]}}}
        raw |= {"seeds": [0, 1, 2, 3, 4], "report": {}}
        profile = cProfile.Profile()
        study = profile.runcall(Study.parse, raw, "study")
        profile.runcall(lambda: {run.key: run.description() for run in study.runs})
        assert len(study.runs) == 5 * rates
        return pstats.Stats(profile).total_calls

    calls(1)
    assert calls(100) < 12 * calls(10)
