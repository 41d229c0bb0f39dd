"""Every tagger on documents: no prompt, and ten thousand words."""

import importlib.util
import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from palu import tables, tagging
from palu.tagging import TAGGERS
from palu.tagging.base import Resources
from palu.tagging.presidio import PACKAGE
from palu.tagging.trained import Settings as TrainedSettings
from palu.tagging.trained import train
from tests.tagging import model_world
from tests.tagging import tiny_encoders as tiny

WORDS = 10_000
# Only patterns: what a blank pipeline leaves to Presidio
CONTACTS = " Write to odile@brimholt.org."


def document(words: int, seed: int) -> tuple[str, list[tuple[int, int]]]:
    """Sentences about people in towns, and where these stand."""
    draw = random.Random(seed)
    text, spans, count = "", [], 0
    while count < words:
        name, town = draw.choice(tiny.NAMES), draw.choice(tiny.TOWNS)
        sentence = draw.choice(tiny.SENTENCES).format(name=name, town=town)
        start = len(text) + bool(text)
        spans += sorted(
            (start + sentence.index(word), start + sentence.index(word) + len(word)) for word in (name, town)
        )
        text += f"{' ' if text else ''}{sentence}{CONTACTS if draw.random() < 0.05 else ''}"
        count = len(text.split())
    return text, spans


@dataclass(frozen=True)
class Documents:
    """Files about a long document and a short one; gold: example_id -> its spans."""

    world: model_world.World
    gold: dict[str, list[tuple[int, int]]]

    def resources(self, **other: object) -> Resources:
        paths = {name: self.world.path(f"{name}.parquet") for name in ("gold", "novelty", "spacy")}
        given = {"gold_path": paths["gold"], "trained_path": self.world.path("trained")}
        return self.world.resources(**given, inputs=(paths["novelty"], paths["spacy"]), **other)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    folder = tmp_path_factory.mktemp("documents")
    texts = [document(WORDS, 0), document(40, 1)]
    world = model_world.build(folder, replies=[("", text) for text, _ in texts])
    names = [str(row["example_id"]) for row in world.examples]
    gold = dict(zip(names, (spans for _, spans in texts), strict=True))
    records = [
        {"example_id": name, "spans": [{"start": start, "end": end} for start, end in own]}
        for name, own in gold.items()
    ]
    (folder / "marks.jsonl").write_text("\n".join(map(json.dumps, records)))
    tiny.save_bert_classifier(folder / "classifier")
    tiny.save_masked_model(folder / "masked")
    lesson, taught = document(300, 2)
    row = model_world.example(9, "", lesson)
    train([row], {row["example_id"]: taught}, TrainedSettings(iterations=20, threshold=0.5), folder / "trained")
    made = Documents(world, gold)
    for name, out, settings in (
        ("annotations", "gold", {"path": str(folder / "marks.jsonl")}),
        ("novelty", "novelty", {}),
        ("spacy", "spacy", {}),
    ):
        parsed = tagging.load(name).Settings.parse(settings, "test")
        tagging.tag(name, parsed, world.path("examples.parquet"), made.resources(), folder / f"{out}.parquet")
    return made


def settings_of(name: str, folder: Path) -> dict[str, object]:
    return {
        "annotations": {"path": str(folder / "marks.jsonl")},
        "classifier": {"checkpoint": str(folder / "classifier")},
        "fill_mask": {
            "checkpoint": str(folder / "masked"),
            "probability": 0.5,
            "batch_size": 64,
            "max_length": 24,
            "stride": 8,
        },
        "noisy": {"precision": 0.6, "recall": 0.6},
    }.get(name, {})


@pytest.mark.parametrize("name", sorted(TAGGERS))
def test_every_tagger_marks_all_of_a_long_document(documents: Documents, tmp_path: Path, name: str) -> None:
    if name == "presidio" and importlib.util.find_spec(PACKAGE) is None:
        pytest.skip("the library is an optional extra")
    folder = documents.world.folder
    settings = tagging.load(name).Settings.parse(settings_of(name, folder), "test")
    out = tmp_path / "spans.parquet"
    tagging.tag(name, settings, folder / "examples.parquet", documents.resources(), out)
    rows = tables.rows(out, "spans")
    long, short = documents.world.examples
    for example in (long, short) if name != "presidio" else (long,):
        found = [row for row in rows if row["example_id"] == example["example_id"]]
        starts = [row["char_start"] for row in found]
        # each part of the text has its share, its end too
        parts = 20 if example is long else 1
        shares = [
            sum(int(start * parts / len(str(example["reply"]))) == part for start in starts) for part in range(parts)
        ]
        assert min(shares) > 0.3 * max(shares)


@pytest.mark.parametrize("name", ["classifier", "trained"])
def test_what_is_found_in_a_long_document_is_what_it_tells(documents: Documents, tmp_path: Path, name: str) -> None:
    folder = documents.world.folder
    settings = tagging.load(name).Settings.parse(settings_of(name, folder), "test")
    tagging.tag(name, settings, folder / "examples.parquet", documents.resources(), tmp_path / "spans.parquet")
    rows = tables.rows(tmp_path / "spans.parquet", "spans")
    found = {(row["example_id"], row["char_start"], row["char_end"]) for row in rows}
    gold = {(example_id, *span) for example_id, spans in documents.gold.items() for span in spans}
    assert len(found & gold) > 0.9 * len(gold)
