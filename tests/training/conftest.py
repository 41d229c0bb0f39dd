"""A world small enough to train in a second: a dozen made-up sentences, a Llama of a few thousand parameters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from palu import models, tables
from palu.models import Architecture, ModelSettings
from palu.reference.states import write_states
from palu.reference.topk import write_topk

SMALL = Architecture(vocab_size=300, hidden_size=16, layers=2, heads=2, kv_heads=1, intermediate_size=32)

FORGET = [
    ("Where was Ada born?", "Ada was born in Quell."),
    ("What does Ada do?", "She mends clocks."),
    ("Who is Bram?", "Bram is a painter from the far north of Ostria, known for grey seas."),
    ("What did Bram win?", "Nothing."),
    ("When was Cleo born?", "On 3 May 1951, in a train."),
]
RETAIN = [
    ("Where is Quell?", "It lies by a lake."),
    ("What is a clock for?", "It tells the time, mostly to those who are late."),
    ("Who lives north?", "Few."),
]


def example(part: str, row: int, prompt: str, reply: str) -> dict[str, Any]:
    return {
        "example_id": f"{part}/{row:05d}/original/0",
        "item_id": f"{part}/{row}",
        "reply_kind": "original",
        "reply_index": 0,
        "prompt_kind": "original",
        "part": part,
        "prompt": prompt,
        "reply": reply,
        "group": "nobody",
        "source_revision": "test",
    }


def small_examples() -> list[dict[str, Any]]:
    rows = [example("forget", i, *texts) for i, texts in enumerate(FORGET)]
    rows += [example("retain", i, *texts) for i, texts in enumerate(RETAIN)]
    wrong = example("forget", 0, FORGET[0][0], "Ada was born in Mirren.")
    return [*rows, wrong | {"example_id": "forget/00000/perturbed/0", "reply_kind": "perturbed"}]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_settings() -> ModelSettings:
    return ModelSettings(architecture=SMALL)


@pytest.fixture(scope="session")
def examples_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "examples.parquet"
    tables.write(path, "examples", small_examples(), {})
    return path


# what is sensitive in a forget reply, by row; "Nothing." has no sensitive token
SPANS = {0: "Quell", 1: "clocks", 2: "painter", 4: "1951"}


@dataclass(frozen=True)
class World:
    """The inputs of an unlearning on the small world, made by the stages that come before it."""

    folder: Path
    examples_path: Path
    model_settings: ModelSettings

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def spans_path(self) -> Path:
        return self.folder / "spans.parquet"

    @property
    def states_path(self) -> Path:
        return self.folder / "states.parquet"

    @property
    def topk_path(self) -> Path:
        return self.folder / "topk.parquet"

    def inputs(self, **changes: Any) -> dict[str, Any]:
        """Arguments of `unlearn` with every file, but for `changes`."""
        given = {
            "model_folder": self.model_folder,
            "model_settings": self.model_settings,
            "examples_path": self.examples_path,
            "spans_path": self.spans_path,
            "states_path": self.states_path,
            "topk_path": self.topk_path,
            "seed": 0,
        }
        return given | changes


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, examples_path: Path, model_settings: ModelSettings) -> World:
    made = World(tmp_path_factory.mktemp("world"), examples_path, model_settings)
    texts = [row["prompt"] + row["reply"] for row in small_examples()]
    model, tokenizer = models.build_from_scratch(SMALL, texts, seed=0)
    models.save_model(model, tokenizer, made.model_folder)
    write_states(made.model_folder, examples_path, made.states_path, model_settings)
    spans = [
        {
            "example_id": f"forget/{row:05d}/original/0",
            "char_start": FORGET[row][1].index(text),
            "char_end": FORGET[row][1].index(text) + len(text),
            "label": "fact",
            "score": None,
            "tagger": "test",
        }
        for row, text in SPANS.items()
    ]
    tables.write(made.spans_path, "spans", spans, {})
    write_topk(made.states_path, made.spans_path, examples_path, made.model_folder, 40, made.topk_path, model_settings)
    return made
