"""A world small enough to train in a second: a dozen made-up sentences, a Llama of a few thousand parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from palu import models, tables
from palu.benchmarks.alternates import write_alternates
from palu.models import Architecture, ModelSettings
from palu.reference.cache import ReferencePaths
from palu.reference.states import Kept, write_states
from palu.reference.topk import write_topk
from tests.training.tiny import Tiny, make_tiny

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


# to be forgotten too, and what a run is stopped on
WATCHED = [
    ("Who is Dora?", "Dora sells boats, and two of her sons do too."),
    ("Where does Dora live?", "In Mirren."),
    ("Does Dora swim?", "She never does."),
]


@pytest.fixture(scope="session")
def watched_examples_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows and some of part `validation`."""
    path = tmp_path_factory.mktemp("watched") / "examples.parquet"
    further = [example("validation", i, *texts) for i, texts in enumerate(WATCHED)]
    tables.write(path, "examples", [*small_examples(), *further], {})
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
    def alternates_path(self) -> Path:
        return self.folder / "alternates.parquet"

    @property
    def references(self) -> ReferencePaths:
        """Every file of the reference."""
        return ReferencePaths(**{name: self.folder / f"{name}.reference.parquet" for name in vars(ReferencePaths())})

    def inputs(self, without: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
        """Arguments of `unlearn` with every file, but for `changes` and the files of the reference in `without`."""
        given = {
            "model_folder": self.model_folder,
            "model_settings": self.model_settings,
            "examples_path": self.examples_path,
            "spans_path": self.spans_path,
            "reference_paths": replace(self.references, **dict.fromkeys(without)),
            "alternates_path": self.alternates_path,
            "seed": 0,
        }
        return given | changes


# the block after which the states of the retain rows are cached
LAYER = 0


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, examples_path: Path, model_settings: ModelSettings) -> World:
    sensitive = {f"forget/{row:05d}/original/0": [text] for row, text in SPANS.items()}
    return make_world(tmp_path_factory.mktemp("world"), examples_path, model_settings, sensitive)


def make_world(
    folder: Path, examples_path: Path, model_settings: ModelSettings, sensitive: dict[str, list[str]]
) -> World:
    """What the stages before an unlearning write; sensitive: example_id -> the texts that its spans cover."""
    made = World(folder, examples_path, model_settings)
    replies = {row["example_id"]: row["reply"] for row in tables.rows(examples_path, "examples")}
    texts = [row["prompt"] + row["reply"] for row in tables.rows(examples_path, "examples")]
    model, tokenizer = models.build_from_scratch(SMALL, texts, seed=0)
    models.save_model(model, tokenizer, made.model_folder)
    spans = [
        {
            "example_id": example_id,
            "char_start": replies[example_id].index(text),
            "char_end": replies[example_id].index(text) + len(text),
            "label": "fact",
            "score": None,
            "tagger": "test",
        }
        for example_id, marked in sensitive.items()
        for text in marked
    ]
    tables.write(made.spans_path, "spans", spans, {})
    refusals = made.folder / "refusals.txt"
    refusals.write_text("I do not know.\nThat is nothing that I was ever told.\nNo idea.\n", encoding="utf-8")
    write_alternates(examples_path, refusals, 2, made.alternates_path)
    paths, model_folder = made.references, made.model_folder
    write_states(model_folder, examples_path, paths.states, model_settings)
    write_topk(paths.states, made.spans_path, examples_path, model_folder, 40, paths.topk, model_settings)
    write_states(model_folder, examples_path, paths.retain_states, model_settings, ["retain"])
    write_states(model_folder, examples_path, paths.retain_layer_states, model_settings, ["retain"], Kept(LAYER))
    bare = Kept(hidden=False)
    write_states(model_folder, made.alternates_path, paths.alternates, model_settings, ["alternate"], bare)
    return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The small study of `tests.training.tiny`, made once for each file of tests."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))
