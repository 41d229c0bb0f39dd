"""Spans that one model knows and another does not."""

import numpy as np
import pytest
import torch

from palu import models, tables, tagging, tokens
from palu.tagging.phrases import units
from palu.tagging.surprisal import Settings, spans
from tests.tagging import model_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return model_world.build(tmp_path_factory.mktemp("surprisal"))


def gaps_by_the_models(world):
    """The gap of each token, from the two models' logits, one row at a time."""
    tokenizer = models.load_tokenizer(world.path("original"))
    pair = [models.load_model(world.path(name)) for name in ("original", "other")]
    for row in tokens.encode(world.examples, tokenizer, world.settings, world.settings.max_length):
        ids = torch.tensor(row.input_ids[None].astype(np.int64))
        with torch.no_grad():
            own, other = (model(input_ids=ids).logits[0].double().log_softmax(-1) for model in pair)
        yield row, [(own - other)[i - 1, ids[0, i]].item() for i in range(1, len(row))]


def test_the_score_of_a_span_is_its_largest_gap(world):
    settings = Settings(threshold="nats", nats=0.01, prompt_words=True, bridge=0)
    found = list(spans(world.examples, settings, world.resources()))
    assert len(found) > 5
    gaps = {row.example_id: (row, values) for row, values in gaps_by_the_models(world)}
    replies = {row["example_id"]: row["reply"] for row in world.examples}
    for span in found:
        row, values = gaps[span["example_id"]]
        words = [
            word
            for word in units(replies[span["example_id"]])
            if span["char_start"] <= word.start and word.end <= span["char_end"]
        ]
        touched = [
            values[i - 1]
            for i in range(row.first_target, len(row))
            if any(row.char_start[i] < word.end and row.char_end[i] > word.start for word in words)
        ]
        assert span["score"] == pytest.approx(max(touched), abs=1e-4)


def test_what_the_other_model_knows_better_is_never_marked(world):
    settings = Settings(threshold="nats", nats=0.01, prompt_words=True, bridge=0)
    found = list(spans(world.examples, settings, world.resources()))
    replies = {row["example_id"]: row["reply"] for row in world.examples}
    for row, values in gaps_by_the_models(world):
        for word in units(replies[row.example_id]):
            own = [
                values[i - 1]
                for i in range(row.first_target, len(row))
                if row.char_start[i] < word.end and row.char_end[i] > word.start
            ]
            if max(own) < 0:
                assert not any(
                    span["char_start"] < word.end and span["char_end"] > word.start
                    for span in found
                    if span["example_id"] == row.example_id
                )


def test_the_table_of_spans_is_written(world, tmp_path):
    out = tmp_path / "spans.parquet"
    coverage = tagging.tag("surprisal", Settings(), world.path("examples.parquet"), world.resources(), out, ["forget"])
    assert coverage.spans == len(tables.rows(out, "spans")) > 0


def test_its_needs_name_both_models():
    assert Settings.needs == {"model", "states", "other_states"}
