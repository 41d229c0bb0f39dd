"""Spans where the model is undecided."""

import numpy as np
import pytest
import torch

from palu import models, tables, tagging, tokens
from palu.errors import UserError
from palu.tagging.entropy import Settings, _Entropy, spans
from palu.tagging.token_scores import encoded, read_scores
from tests.tagging import model_world


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def world(request, tmp_path_factory):
    return model_world.build(tmp_path_factory.mktemp("entropy"), request.param)


def by_the_model(world):
    """The entropy before each reply token, from the whole model's logits, one row at a time."""
    model, tokenizer = models.load_model(world.path("original")), models.load_tokenizer(world.path("original"))
    for row in tokens.encode(world.examples, tokenizer, world.settings, world.settings.max_length):
        with torch.no_grad():
            z = model(input_ids=torch.tensor(row.input_ids[None].astype(np.int64))).logits[0].double()
        p = z.softmax(-1)
        yield row, -(p * p.log()).sum(-1).numpy()


def test_the_score_of_a_token_is_the_entropy_before_it(world):
    rows = encoded(world.examples, world.resources(), "entropy")
    facts = tables.provenance(world.path("states.parquet"))
    found = read_scores(world.path("states.parquet"), rows, _Entropy(world.path("original"), facts["dtype"], {}))
    # states in bfloat16 are rounded to 8 bits
    tolerance = 1e-4 if facts["dtype"] == "float32" else 0.15
    for (row, expected), scores in zip(by_the_model(world), found, strict=True):
        for i in range(row.first_target, len(row)):
            assert scores[i] == pytest.approx(expected[i - 1], abs=tolerance)


def test_the_most_undecided_words_are_marked(world):
    settings = Settings(threshold="share", share=0.2, bridge=0, prompt_words=True)
    marked = list(spans(world.examples, settings, world.resources()))
    everything = list(
        spans(world.examples, Settings(threshold="nats", nats=1e-6, prompt_words=True), world.resources())
    )
    assert marked
    characters = [sum(row["char_end"] - row["char_start"] for row in rows) for rows in (marked, everything)]
    assert characters[0] < characters[1]
    assert max(row["score"] for row in marked) == max(row["score"] for row in everything)


def test_the_table_of_spans_is_written(world, tmp_path):
    out = tmp_path / "spans.parquet"
    tagging.tag("entropy", Settings(), world.path("examples.parquet"), world.resources(), out, ["forget"])
    assert {row["tagger"] for row in tables.rows(out, "spans")} == {"entropy"}


def test_states_of_an_inner_layer_are_refused(world):
    with pytest.raises(UserError, match=r"layer\.parquet: holds the states of layer '0'; allowed: 'last'"):
        list(spans(world.examples, Settings(), world.resources(states_path=world.path("layer.parquet"))))
