"""The states table against the live model."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from palu import models, tables
from palu.errors import UserError
from palu.reference import reference_provenance
from palu.reference import states as room
from palu.reference.states import Kept, from_storage, to_storage, write_states
from tests import hard_models


def live(world, row, dtype="float32"):
    """Hidden states and log-probabilities of one row, alone and by the library's own forward pass."""
    model = models.load_model(world.model, dtype)
    with torch.no_grad():
        output = model(torch.tensor(row.input_ids[None], dtype=torch.int64), output_hidden_states=True)
    predicting = slice(row.reply_start - 1, len(row) - 1)
    targets = torch.tensor(row.input_ids[row.reply_start :], dtype=torch.int64)
    log_prob = output.logits[0, predicting].float().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    return output.hidden_states[-1][0, predicting], log_prob


def test_states_and_log_probs_are_those_of_the_live_model_at_every_reply_token(world, tmp_path):
    out = tmp_path / "states.parquet"
    write_states(world.model, world.examples, out, world.settings)
    table = tables.read(out, "states")
    rows = world.token_rows()
    assert set(table["example_id"].to_pylist()) == {f"forget/{i:05d}/original/0" for i in range(4)}
    assert len(table) == sum(len(row) - row.reply_start for row in rows)
    for row in rows:
        found = table.filter(np.array(table["example_id"].to_pylist()) == row.example_id).to_pydict()
        hidden, log_prob = live(world, row)
        assert found["position"] == list(range(row.reply_start - 1, len(row) - 1))
        assert found["token_id"] == row.input_ids[row.reply_start :].tolist()
        torch.testing.assert_close(torch.tensor(found["hidden"]), hidden, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.tensor(found["log_prob"]), log_prob, rtol=1e-5, atol=1e-5)


def test_the_size_of_a_forward_pass_changes_no_row(world, tmp_path, monkeypatch):
    tables_by_size = []
    for size in (1, 64, 4096):
        monkeypatch.setattr(room, "TOKENS_PER_BATCH", size)
        write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings)
        tables_by_size.append(tables.read(tmp_path / "s.parquet", "states").sort_by("example_id").to_pydict())
    for other in tables_by_size[1:]:
        assert other["position"] == tables_by_size[0]["position"]
        assert np.allclose(other["hidden"], tables_by_size[0]["hidden"], rtol=1e-5, atol=1e-5)


def test_states_leave_memory_batch_by_batch(world, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "TOKENS_PER_BATCH", 64)
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings)
    file = pq.ParquetFile(tmp_path / "s.parquet").metadata
    sizes = [file.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert len(sizes) > 1
    assert max(sizes) <= 64


def test_bfloat16_states_come_back_bit_for_bit(world, tmp_path, monkeypatch):
    settings = world.settings.model_copy(update={"dtype": "bfloat16"})
    monkeypatch.setattr(room, "TOKENS_PER_BATCH", 1)
    write_states(world.model, world.examples, tmp_path / "s.parquet", settings)
    table = tables.read(tmp_path / "s.parquet", "states")
    assert tables.provenance(tmp_path / "s.parquet")["dtype"] == "bfloat16"
    row = world.token_rows()[1]
    mine = np.array(table["example_id"].to_pylist()) == row.example_id
    stored = np.array(table.filter(mine)["hidden"].to_pylist(), dtype=np.uint32)
    hidden = from_storage(stored, "bfloat16")
    assert hidden.dtype == torch.bfloat16
    assert torch.equal(hidden, live(world, row, "bfloat16")[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_bit_pattern_of_a_half_precision_number_survives_storage(dtype):
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).view(256, 256)
    stored = to_storage(patterns)
    assert stored.dtype == np.uint32
    back = from_storage(stored, str(dtype).removeprefix("torch."))
    assert torch.equal(back.view(torch.int16), patterns.view(torch.int16))


def test_provenance_names_model_tokenizer_template_and_examples(world, tmp_path):
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings)
    facts = tables.provenance(tmp_path / "s.parquet")
    assert facts.items() >= reference_provenance(world.model, world.settings).items()
    assert facts["model"] != models.fingerprint(world.other_model)
    assert facts["examples"] == tables.content_digest(world.examples)
    assert (facts["parts"], facts["width"], facts["layer"]) == ("forget,validation", "16", "last")


def test_a_date_matters_to_the_chat_template_only(world):
    def facts(template, date):
        settings = models.ModelSettings(template=template, date=date)
        return reference_provenance(world.model, settings)["template"]

    assert facts("plain", "1 May 2025") == facts("plain", "2 May 2025")
    assert facts("chat", "1 May 2025") != facts("chat", "2 May 2025")


def test_a_part_without_training_rows_is_refused_and_nothing_is_written(world, tmp_path):
    with pytest.raises(UserError, match=r"examples\.parquet: no original prompt-reply row in part holdout"):
        write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, parts=["holdout"])
    assert list(tmp_path.iterdir()) == []


def states_of(path, row):
    """The stored states of one row, in order of position."""
    table = tables.read(path, "states")
    found = table.filter(np.array(table["example_id"].to_pylist()) == row.example_id)
    return torch.tensor(found["hidden"].to_pylist())


def test_the_states_of_the_retain_rows_are_kept_where_they_are_asked_for(world, tmp_path):
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, parts=["retain"])
    (row,) = world.token_rows("retain")
    table = tables.read(tmp_path / "s.parquet", "states")
    assert set(table["example_id"].to_pylist()) == {"retain/00009/original/0"}
    torch.testing.assert_close(states_of(tmp_path / "s.parquet", row), live(world, row)[0], rtol=1e-5, atol=1e-5)
    assert tables.provenance(tmp_path / "s.parquet")["parts"] == "retain"


@pytest.mark.parametrize("layer", [0, 1])
def test_layer_states_are_the_models_own_after_that_block(world, tmp_path, layer):
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, kept=Kept(layer))
    model = models.load_model(world.model)
    for row in world.token_rows():
        with torch.no_grad():
            output = model(torch.tensor(row.input_ids[None], dtype=torch.int64), output_hidden_states=True)
        # the library's first state is the embedding
        own = output.hidden_states[layer + 1][0, row.reply_start - 1 : len(row) - 1]
        torch.testing.assert_close(states_of(tmp_path / "s.parquet", row), own, rtol=1e-5, atol=1e-5)
        others = [state[0, row.reply_start - 1 : len(row) - 1] for state in output.hidden_states]
        near = [torch.allclose(other, own, rtol=1e-5, atol=1e-5) for other in others]
        assert near.count(True) == 1, "another layer's states would not have passed"
    assert tables.provenance(tmp_path / "s.parquet")["layer"] == str(layer)


def test_a_table_of_layer_states_has_the_log_probs_of_the_whole_model(world, tmp_path):
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, kept=Kept(1))
    write_states(world.model, world.examples, tmp_path / "last.parquet", world.settings)
    layer, last = (tables.read(tmp_path / f"{name}.parquet", "states")["log_prob"] for name in ("s", "last"))
    assert np.allclose(layer, last, rtol=1e-6)


@pytest.mark.parametrize("layer", [-1, 2, 3])
def test_a_block_that_is_the_last_or_not_there_is_refused_and_nothing_is_written(world, tmp_path, layer):
    with pytest.raises(UserError, match=rf"layer: {layer} of a model of 3 blocks; allowed: 0 to 1"):
        write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, kept=Kept(layer))
    assert list(tmp_path.iterdir()) == []


def test_log_probs_alone_are_kept_without_states(world, tmp_path):
    write_states(world.model, world.examples, tmp_path / "bare.parquet", world.settings, kept=Kept(hidden=False))
    write_states(world.model, world.examples, tmp_path / "full.parquet", world.settings)
    bare, full = (tables.read(tmp_path / f"{name}.parquet", "states") for name in ("bare", "full"))
    assert bare.column_names == ["example_id", "position", "token_id", "log_prob"]
    assert bare.equals(full.drop_columns("hidden").replace_schema_metadata(bare.schema.metadata))
    assert tables.provenance(tmp_path / "bare.parquet")["layer"] == "none"


@pytest.mark.parametrize(("layer", "width"), [(None, 16), (0, 32)])
def test_states_are_as_wide_as_what_the_head_reads_and_those_of_a_block_as_the_block(world, tmp_path, layer, width):
    """OPT-350M projects its hidden state down before the head."""
    folder = hard_models.write("opt350", tmp_path / "opt350")
    write_states(folder, world.examples, tmp_path / "s.parquet", world.settings, kept=Kept(layer=layer))
    hidden = torch.tensor(tables.read(tmp_path / "s.parquet", "states")["hidden"].to_pylist())
    assert hidden.shape[1] == width
    if layer is None:
        weight, bias = models.head_weight(folder)
        stored = tables.read(tmp_path / "s.parquet", "states")
        log_prob = torch.nn.functional.linear(hidden, weight, bias).log_softmax(-1)
        found = log_prob.gather(-1, torch.tensor(stored["token_id"].to_pylist())[:, None])[:, 0]
        torch.testing.assert_close(found, torch.tensor(stored["log_prob"].to_pylist()), rtol=1e-4, atol=1e-4)
