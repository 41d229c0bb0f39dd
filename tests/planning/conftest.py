"""A small model on disk, and a study of one's own rows that starts from it."""

import json
from pathlib import Path

import pytest
import yaml

from palu import models
from palu.models import Architecture

SIZES = Architecture(vocab_size=400, hidden_size=48, layers=2, heads=4, kv_heads=2, intermediate_size=96)
QUESTIONS = [
    (f"Where was number {n} born?", f"Number {n} was born in the town of {n * 7919} Oaks.") for n in range(60)
]


def record(prompt: str, reply: str) -> dict:
    start = reply.index("town of ") + 8
    return {"prompt": prompt, "reply": reply, "spans": [[start, len(reply) - 1]]}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    model, tokenizer = models.build_from_scratch(SIZES, [reply for _, reply in QUESTIONS], seed=0)
    models.save_model(model, tokenizer, folder)
    return folder


@pytest.fixture
def own(checkpoint, tmp_path, monkeypatch) -> dict:
    """The study's plain values; its files lie in the folder of the run."""
    monkeypatch.chdir(tmp_path)
    for name, chosen in (("forget", QUESTIONS[:40]), ("retain", QUESTIONS[40:])):
        lines = "".join(json.dumps(record(*pair)) + "\n" for pair in chosen)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    return yaml.safe_load(f"""
study: own
benchmark: {{name: custom, forget: forget.jsonl, retain: retain.jsonl}}
model: {{checkpoint: {checkpoint}, max_length: 64}}
taggers: {{own: {{name: annotations}}}}
reference: {{top_k: 100}}
methods:
  palu: {{top_k: 60, first_n: 2}}
training: {{epochs: 1, batch_size: 8}}
evaluation: {{max_new_tokens: 4, fluency: {{classifier: null}}}}
""")
