"""Documents that are longer than the model reads at once: their facts stand at the positions of the uncut text."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from palu import models, tables, tokens
from palu.errors import UserError
from palu.reference import reference_provenance
from palu.reference.cache import ReferenceCache
from palu.reference.states import training_rows, write_states
from palu.reference.topk import write_topk
from palu.roles import SENSITIVE
from tests.reference.conftest import World, example

TEXTS = ["Ilse Marwick wrote The Amber Door in 1931. " * n for n in (3, 1, 2)]
LENGTH = 24


@pytest.fixture(scope="module")
def documents(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("documents")
    rows = [example("forget", i, "", text) for i, text in enumerate(TEXTS)]
    tables.write(folder / "examples.parquet", "examples", rows, {})
    spans = [
        {"example_id": row["example_id"], "char_start": start, "char_end": start + 12, "label": "x", "tagger": "t"}
        for row in rows
        for start in range(0, len(str(row["reply"])), 43)
    ]
    tables.write(folder / "spans.parquet", "spans", spans, {})
    settings = models.ModelSettings(template="raw", max_length=LENGTH)
    made = World(
        folder, world.model, world.other_model, folder / "examples.parquet", folder / "spans.parquet", settings
    )
    write_states(made.model, made.examples, folder / "states.parquet", settings)
    write_topk(folder / "states.parquet", made.spans, made.examples, made.model, 12, folder / "topk.parquet", settings)
    return made


def whole_rows(world: World) -> list[tokens.TokenRow]:
    examples, spans = training_rows(world.examples, ["forget"]), tokens.read_spans(world.spans)
    tokenizer = models.load_tokenizer(world.model)
    return list(tokens.encode_whole(examples, tokenizer, world.settings, world.settings.max_length, spans))


def of(table: pa.Table, example_id: str) -> pa.Table:
    return table.filter(np.array(table["example_id"].to_pylist()) == example_id).sort_by("position")


def test_the_states_have_each_position_of_the_uncut_document_once(documents: World) -> None:
    table = tables.read(documents.folder / "states.parquet", "states")
    for row in whole_rows(documents):
        assert len(row) > LENGTH
        found = of(table, row.example_id)
        assert found["position"].to_pylist() == list(range(len(row) - 1))
        assert found["token_id"].to_pylist() == row.input_ids[1:].tolist()


def test_the_top_k_stand_at_the_sensitive_positions_of_the_uncut_document(documents: World) -> None:
    table = tables.read(documents.folder / "topk.parquet", "topk")
    for row in whole_rows(documents):
        expected = np.flatnonzero(row.role == SENSITIVE) - 1
        assert of(table, row.example_id)["position"].to_pylist() == expected.tolist()
    assert len(table) == sum(int((row.role == SENSITIVE).sum()) for row in whole_rows(documents))


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_of_pieces_finds_the_live_models_facts(documents: World, packed: bool) -> None:
    pieces = documents.token_rows()
    assert len(pieces) > len(TEXTS)
    chosen = tokens.collate(pieces[1:6], 0, packed)
    cache = ReferenceCache(
        {"states", "log_probs", "top_k"},
        documents.folder / "states.parquet",
        documents.folder / "topk.parquet",
        reference_provenance(documents.model, documents.settings),
    )
    facts = cache.lookup(chosen)
    model = models.load_model(documents.model)
    with torch.no_grad():
        hidden = models.hidden_states(model, chosen)[chosen.predict_index]
        z = hidden @ models.output_head(model)[0].T
    torch.testing.assert_close(facts["reference_hidden"], hidden, rtol=1e-5, atol=1e-5)
    log_prob = z.log_softmax(-1).gather(-1, chosen.target_ids[:, None])[:, 0]
    torch.testing.assert_close(facts["reference_log_prob"], log_prob, rtol=1e-4, atol=1e-4)
    best = z[chosen.role == SENSITIVE].sort(descending=True, stable=True).indices[:, :12]
    assert torch.equal(facts["reference_top_k"], best)


def test_states_of_another_length_are_refused(documents: World) -> None:
    shorter = documents.settings.model_copy(update={"max_length": LENGTH - 1})
    with pytest.raises(UserError, match="made with max_length '24', but '23' is in use"):
        ReferenceCache(
            {"states"},
            documents.folder / "states.parquet",
            None,
            reference_provenance(documents.model, shorter),
        )
