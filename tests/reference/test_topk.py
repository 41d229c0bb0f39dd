"""The top-K index: exact order, ties included, at the sensitive positions."""

import numpy as np
import pytest
import torch

from palu import models, tables
from palu.errors import UserError
from palu.reference import states as states_room
from palu.reference.states import Kept, from_storage, write_states
from palu.reference.topk import stable_top_k, write_topk
from palu.roles import SENSITIVE
from tests.reference.conftest import example


@pytest.fixture(scope="module")
def states(world):
    path = world.folder / "topk-states.parquet"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(states_room, "TOKENS_PER_BATCH", 64)
        write_states(world.model, world.examples, path, world.settings)
    return path


def index(world, states, out, k, **changes):
    values = {"spans_path": world.spans, "examples_path": world.examples, "model_folder": world.model} | changes
    write_topk(states, values["spans_path"], values["examples_path"], values["model_folder"], k, out, world.settings)
    return tables.read(out, "topk")


def by_key(table):
    return {(row["example_id"], row["position"]): row["token_ids"] for row in table.to_pylist()}


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
@pytest.mark.parametrize("k", [1, 2, 7, 39, 40])
def test_ties_stand_in_order_of_token_id(levels, k):
    made = torch.Generator().manual_seed(levels)
    z = torch.randint(levels, (20, 40), generator=made).float()
    z[0, :3] = torch.tensor([0.0, -0.0, 0.0])
    assert torch.equal(stable_top_k(z, k), z.sort(descending=True, stable=True).indices[:, :k])


def test_a_row_worked_by_hand():
    z = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 2.0]])
    assert stable_top_k(z, 4).tolist() == [[1, 3, 2, 4]]


def test_the_index_holds_the_live_models_best_tokens_at_every_sensitive_position_and_no_other(world, states, tmp_path):
    found = by_key(index(world, states, tmp_path / "topk.parquet", 20))
    model = models.load_model(world.model)
    expected = {}
    for row in world.token_rows():
        with torch.no_grad():
            z = model(torch.tensor(row.input_ids[None], dtype=torch.int64)).logits[0]
        for target in (row.role == SENSITIVE).nonzero()[0].tolist():
            best = z[target - 1].sort(descending=True, stable=True).indices[:20]
            expected[row.example_id, target - 1] = best.tolist()
    assert len(expected) > 10
    assert found == expected


@pytest.mark.parametrize("first_n", [1, 2, 4])
def test_only_the_first_tokens_of_each_run_are_indexed(world, states, tmp_path, first_n):
    every = by_key(index(world, states, tmp_path / "all.parquet", 20))
    write_topk(
        *(states, world.spans, world.examples, world.model, 20, tmp_path / "few.parquet", world.settings),
        first_n=first_n,
    )
    few = by_key(tables.read(tmp_path / "few.parquet", "topk"))
    offsets = {
        (row.example_id, target - 1): row.span_offset[target]
        for row in world.token_rows()
        for target in (row.role == SENSITIVE).nonzero()[0].tolist()
    }
    assert few == {key: ids for key, ids in every.items() if offsets[key] < first_n}
    assert len(few) < len(every)
    assert [tables.provenance(tmp_path / f"{name}.parquet")["first_n"] for name in ("few", "all")] == [
        str(first_n),
        "all",
    ]


def test_a_smaller_k_is_a_prefix_of_a_larger_one(world, states, tmp_path):
    small = by_key(index(world, states, tmp_path / "small.parquet", 5))
    large = by_key(index(world, states, tmp_path / "large.parquet", 50))
    assert small == {key: ids[:5] for key, ids in large.items()}


def test_k_is_clipped_to_the_vocabulary(world, states, tmp_path):
    found = by_key(index(world, states, tmp_path / "topk.parquet", 10**6))
    vocabulary = models.head_weight(world.model)[0].shape[0]
    assert all(sorted(ids) == list(range(vocabulary)) for ids in found.values())
    facts = tables.provenance(tmp_path / "topk.parquet")
    assert facts["k"] == facts["vocabulary"] == str(vocabulary)


def test_bfloat16_states_are_ranked_by_a_float32_product(world, tmp_path, monkeypatch):
    settings = world.settings.model_copy(update={"dtype": "bfloat16"})
    monkeypatch.setattr(states_room, "TOKENS_PER_BATCH", 1)
    write_states(world.model, world.examples, tmp_path / "s.parquet", settings)
    write_topk(tmp_path / "s.parquet", world.spans, world.examples, world.model, 30, tmp_path / "k.parquet", settings)
    weight = models.head_weight(world.model)[0]
    hidden = {
        (row["example_id"], row["position"]): row["hidden"]
        for row in tables.read(tmp_path / "s.parquet", "states").to_pylist()
    }
    for key, ids in by_key(tables.read(tmp_path / "k.parquet", "topk")).items():
        z = from_storage(np.array(hidden[key], dtype=np.uint32), "bfloat16").float() @ weight.T
        assert (z[ids].diff() <= 1e-4).all()
        assert z[ids[-1]] >= z.sort(descending=True).values[29] - 1e-4


def test_the_states_are_streamed(world, states, tmp_path, monkeypatch):
    monkeypatch.setattr(tables.iterate, "__defaults__", (None, 4))
    largest = 0

    def watched(z, k):
        nonlocal largest
        largest = max(largest, len(z))
        return stable_top_k(z, k)

    monkeypatch.setattr("palu.reference.topk.stable_top_k", watched)
    found = by_key(index(world, states, tmp_path / "topk.parquet", 5))
    assert 1 <= largest <= 4 < len(found)


def test_states_of_another_model_or_template_are_refused(world, states, tmp_path):
    with pytest.raises(UserError, match=r"topk-states\.parquet: made with model .* is in use"):
        index(world, states, tmp_path / "k.parquet", 5, model_folder=world.other_model)
    settings = world.settings.model_copy(update={"template": "llama2-chat"})
    with pytest.raises(UserError, match="made with template"):
        write_topk(states, world.spans, world.examples, world.model, 5, tmp_path / "k.parquet", settings)
    assert list(tmp_path.iterdir()) == []


def test_states_of_other_examples_are_refused(world, states, tmp_path):
    rows = tables.rows(world.examples, "examples")
    rows[1]["reply"] = rows[1]["reply"].replace("far", "not far")
    tables.write(tmp_path / "e.parquet", "examples", rows, {})
    with pytest.raises(UserError, match="example 'forget/00001/original/0' is not the one in the examples"):
        index(world, states, tmp_path / "k.parquet", 5, examples_path=tmp_path / "e.parquet")
    assert not (tmp_path / "k.parquet").exists()


def test_spans_that_cover_nothing_are_refused(world, states, tmp_path):
    tables.write(tmp_path / "none.parquet", "spans", [], {})
    with pytest.raises(UserError, match=r"none\.parquet: no span covers a token of the 4 replies"):
        index(world, states, tmp_path / "k.parquet", 5, spans_path=tmp_path / "none.parquet")


@pytest.mark.parametrize("kept", [Kept(0), Kept(hidden=False)], ids=["layer", "none"])
def test_states_that_are_not_the_last_ones_are_refused(world, tmp_path, kept):
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, kept=kept)
    with pytest.raises(UserError, match=r"s\.parquet: made with layer '(0|none)', but 'last' is in use"):
        index(world, tmp_path / "s.parquet", tmp_path / "k.parquet", 5)
    assert not (tmp_path / "k.parquet").exists()


def test_spans_that_all_come_after_the_cut_are_refused_with_the_length(world, tmp_path):
    reply = "word " * 80 + "Oskvale"
    tables.write(tmp_path / "e.parquet", "examples", [example("forget", 0, "Where?", reply)], {})
    span = {"example_id": "forget/00000/original/0", "char_start": 400, "char_end": 407, "label": "x", "tagger": "t"}
    tables.write(tmp_path / "spans.parquet", "spans", [span], {})
    write_states(world.model, tmp_path / "e.parquet", tmp_path / "states.parquet", world.settings)
    with pytest.raises(UserError) as error:
        write_topk(
            *(tmp_path / name for name in ("states.parquet", "spans.parquet", "e.parquet")),
            world.model,
            5,
            tmp_path / "k.parquet",
            world.settings,
        )
    assert str(error.value) == (
        f"{tmp_path / 'spans.parquet'}: the only spans, 1 in 1 replies, come after max_length 64, where the rows are "
        "cut; allowed: a larger model.max_length, or shorter rows"
    )
