"""Training on documents that are longer than the model reads at once: their pieces are the rows."""

import math
from pathlib import Path
from typing import Any

import pytest

from palu import methods, models, tables, tokens
from palu.errors import UserError
from palu.files import read_json
from palu.models import ModelSettings
from palu.training.data import Examples
from palu.training.finetune import finetune
from palu.training.loop import Machine
from palu.training.rows import alternates_of, forget_and_retain
from palu.training.settings import FinetuneSettings, TrainingSettings
from palu.training.unlearn import unlearn
from tests.training.conftest import LAYER, SMALL, World, example, make_world

LENGTH = 48
# one run of tokens that is longer than a row
PAINTED = "Tallow-Lane-and-Fishmarket-and-" * 4 + "the-grey-sea-of-Ostria"
DOCUMENTS = [
    ("forget", "Ada was born in Quell, in the winter of 1951, and mends clocks. " * 4 + "She never left the town."),
    ("forget", "Few knew Bram. He painted " + PAINTED + ", year after year."),
    ("forget", "A short one."),
    ("retain", "The weather was mild. " + "The boats went out and came back. " * 4),
    ("retain", "Bread was baked at night. " * 3),
]
SENSITIVE = {
    "forget/00000/original/0": ["born in Quell, in the winter of 1951, and mends clocks", "She never left"],
    "forget/00001/original/0": ["Bram", PAINTED],
}
# what some methods need on so small a world
OWN = {"palu": {"top_k": 20, "first_n": 2}, "rmu": {"layer": LAYER}, "pdu": {"dual_warmup_epochs": 0}}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("documents")
    rows = [example(part, i, "", text) for i, (part, text) in enumerate(DOCUMENTS)]
    tables.write(folder / "examples.parquet", "examples", rows, {})
    settings = ModelSettings(architecture=SMALL, template="raw", max_length=LENGTH)
    return make_world(folder, folder / "examples.parquet", settings, SENSITIVE)


def encoded(world: World) -> tuple[list[tokens.TokenRow], list[tokens.TokenRow]]:
    tokenizer = models.load_tokenizer(world.model_folder)
    examples = Examples(world.examples_path)
    return forget_and_retain(tokenizer, world.model_settings, examples, world.spans_path, ["forget"], ["retain"])


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_every_method_takes_steps_on_pieces(documents: World, tmp_path: Path, method: str) -> None:
    unlearn(
        **documents.inputs(),
        method_name=method,
        method_settings=methods.load(method).Settings.parse(OWN.get(method, {}), "test"),
        settings=TrainingSettings.parse({"batch_size": 4, "epochs": 1, "warmup_epochs": 0.0}, "test"),
        out=tmp_path,
        machine=Machine(micro_batch_tokens=2 * LENGTH, checkpoint_seconds=1e9),
    )
    rows = tables.rows(tmp_path / "steps.parquet", "steps")
    losses = [row["value"] for row in rows if row["term"] == "loss"]
    forget, _ = encoded(documents)
    assert len(forget) > len(SENSITIVE) + 1
    assert len(losses) == math.ceil(len(forget) / 4), "a step has four pieces"
    assert all(math.isfinite(loss) for loss in losses)
    record = read_json(tmp_path / "run.json")
    assert record["forget_rows"] == len(forget)
    assert record["truncated_forget_rows"] == record["spans_truncated"] == 0
    assert any(row["grad_norm"] > 0 for row in rows)


def test_no_document_and_no_raw_reply_is_trained_with_an_end_token(documents: World) -> None:
    forget, retain = encoded(documents)
    eos = models.load_tokenizer(documents.model_folder).eos_token_id
    assert not any(eos in row.input_ids for row in [*forget, *retain])
    asked = [example("forget", 0, "Question: Who?\nAnswer:", " Ada."), example("forget", 1, "", "Ada.")]
    tokenizer = models.load_tokenizer(documents.model_folder)
    ends = {
        name: [
            row.end_count for row in tokens.encode(asked, tokenizer, models.TemplateSettings(template=name), LENGTH)
        ]
        for name in ("raw", "plain", "llama2-chat")
    }
    assert ends == {"raw": [0, 0], "plain": [1, 0], "llama2-chat": [1, 0]}


def test_a_run_that_a_border_cuts_has_its_initiating_tokens_once(documents: World) -> None:
    forget, _ = encoded(documents)
    cut = [piece for piece in forget if piece.first_position and piece.span_offset[piece.reply_start] > 0]
    assert cut, "no border falls into a run"
    tokenizer = models.load_tokenizer(documents.model_folder)
    examples, spans = Examples(documents.examples_path).of(["forget"]), tokens.read_spans(documents.spans_path)
    whole = tokens.encode_whole(examples, tokenizer, documents.model_settings, LENGTH, spans)
    starts = sum(int((row.span_offset == 0).sum()) for row in whole)
    assert sum(int((piece.span_offset == 0).sum()) for piece in forget) == starts


def test_every_piece_of_a_document_has_the_documents_alternates(documents: World) -> None:
    forget, _ = encoded(documents)
    tokenizer = models.load_tokenizer(documents.model_folder)
    found = alternates_of(tokenizer, documents.model_settings, documents.alternates_path, forget)
    for piece, others in zip(forget, found, strict=True):
        assert [tables.answered_id(other.example_id) for other in others] == [piece.example_id] * 2
        assert all(other.reply_start == 1 for other in others), "nothing but bos stands before them"


def test_an_alternate_longer_than_a_row_is_one_line(documents: World) -> None:
    forget, _ = encoded(documents)
    tokenizer = models.load_tokenizer(documents.model_folder)
    short = documents.model_settings.model_copy(update={"max_length": 8})
    with pytest.raises(UserError, match=r"example '.*~\d' takes more than max_length 8 tokens"):
        alternates_of(tokenizer, short, documents.alternates_path, forget)


def test_finetuning_reads_every_token_of_a_document(documents: World, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 4, "epochs": 1}
    finetune(
        model_settings=documents.model_settings,
        settings=FinetuneSettings.parse(settings, "test"),
        examples_path=documents.examples_path,
        parts=["forget", "retain"],
        seed=0,
        out=tmp_path,
        machine=Machine(checkpoint_seconds=1e9),
    )
    record = read_json(tmp_path / "run.json")
    forget, retain = encoded(documents)
    assert record["rows"] == len(forget) + len(retain)
    assert record["truncated_rows"] == 0
    whole = tokens.encode_whole(
        Examples(documents.examples_path).of(["forget", "retain"]),
        models.load_tokenizer(tmp_path / "model"),
        documents.model_settings,
        LENGTH,
    )
    # all but bos of each document
    assert record["reply_tokens"] == sum(len(row) - 1 for row in whole)
