"""The script for a lent GPU is tried where there is none: whatever it measures, it measures."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palu import benchmarks, models
from palu.models import Architecture
from palu.study import Study
from tests.timing import gpu

WAYS = {"ours", "finetune", "bound", "authors", "lora"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("gpu") / "out"
    gpu.main(["--dry-run", "--out", str(out)])
    return out


def test_a_dry_run_measures_every_part(written):
    with (written / "gpu.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    seconds = {(cell["part"], cell["way"]) for cell in cells if cell["measure"] == "seconds" and float(cell["value"])}
    assert seconds == {(f"{shape} (dry run)", way) for shape in ("llama-3.2-1b", "llama-3.1-8b") for way in WAYS}
    assert not [cell for cell in cells if cell["measure"] == "skipped"]
    apart = {cell["measure"]: float(cell["value"]) for cell in cells if cell["measure"].endswith("difference")}
    assert set(apart) == {f"{name}: relative difference" for name in ("local", "common", "retain", "gradient norm")}
    # bfloat16 keeps 8 bits; the model is not its reference, so no term is near 0
    assert max(apart.values()) < 0.05


def test_the_numbers_stand_in_tables(written):
    text = (written / "gpu.md").read_text()
    assert "| llama-3.2-1b (dry run) | seconds | tokens/s | peak GiB | GiB beyond weights and gradients |" in text
    assert "| parity | ours, bf16 | dense, float32 | relative difference |" in text


def test_a_part_without_time_is_skipped_with_a_line():
    part = gpu.Part("a", "b", 60, dict)
    (cell,) = gpu.measured(iter([part]), time.monotonic() + 10)
    assert (cell.measure, cell.value) == ("skipped", "10 s left, begun with 60")


def test_a_part_without_memory_is_skipped_with_a_line():
    def full():
        raise gpu.torch.OutOfMemoryError

    (cell,) = gpu.measured(iter([gpu.Part("a", "b", 0, full)]), time.monotonic() + 10)
    assert (cell.measure, cell.value) == ("skipped", "the GPU's memory is too small")


def test_it_runs_without_what_such_a_machine_lacks():
    lacking = ("snakemake", "spacy", "datasets", "rouge_score", "gguf")
    code = f"import sys; sys.modules.update(dict.fromkeys({lacking})); import tests.timing.gpu"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_study_is_trained_from_three_files(tmp_path):
    model, tokenizer = models.build_from_scratch(
        Architecture(vocab_size=300, hidden_size=16, heads=2, kv_heads=2, intermediate_size=32), ["some words"], seed=0
    )
    models.save_model(model, tokenizer, tmp_path / "model")
    study = Study.parse(
        {
            "study": "small",
            "benchmark": {"name": "demo", "people": 6, "held_out_people": 1, "forget_people": 1},
            "model": {"base_checkpoint": "owner/base", "max_length": 256},
            "finetune": {"epochs": 1},
            "taggers": {"gold": {"name": "annotations"}},
            "reference": {"top_k": 20},
            "methods": {"palu": {"top_k": 20}, "npo": {}, "dpo": {}},
            "training": {"epochs": 1},
        },
        "study.yaml",
    )
    benchmarks.prepare("demo", study.benchmark.settings, tmp_path / "examples.parquet", tmp_path / "spans.parquet")
    parts = gpu.training_parts(study, tmp_path, tmp_path / "out")
    cells = list(gpu.measured(parts, time.monotonic() + 600))
    assert [cell.way for cell in cells] == ["original", "states, no", "top-K, no", "palu", "npo"]
    assert all(cell.measure == "seconds" for cell in cells)
