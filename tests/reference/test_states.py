"""The states table against the live model."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from palu import models, tables
from palu.errors import UserError
from palu.reference import reference_provenance
from palu.reference.states import from_storage, to_storage, write_states


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


def test_the_size_of_a_forward_pass_changes_no_row(world, tmp_path):
    tables_by_size = []
    for size in (1, 64, 4096):
        write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, tokens_per_batch=size)
        tables_by_size.append(tables.read(tmp_path / "s.parquet", "states").sort_by("example_id").to_pydict())
    for other in tables_by_size[1:]:
        assert other["position"] == tables_by_size[0]["position"]
        assert np.allclose(other["hidden"], tables_by_size[0]["hidden"], rtol=1e-5, atol=1e-5)


def test_states_leave_memory_batch_by_batch(world, tmp_path):
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings, tokens_per_batch=64)
    file = pq.ParquetFile(tmp_path / "s.parquet").metadata
    sizes = [file.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert len(sizes) > 1
    assert max(sizes) <= 64


def test_bfloat16_states_come_back_bit_for_bit(world, tmp_path):
    settings = world.settings.model_copy(update={"dtype": "bfloat16"})
    write_states(world.model, world.examples, tmp_path / "s.parquet", settings, tokens_per_batch=1)
    table = tables.read(tmp_path / "s.parquet", "states")
    assert tables.provenance(tmp_path / "s.parquet")["dtype"] == "bfloat16"
    row = world.token_rows()[1]
    mine = np.array(table["example_id"].to_pylist()) == row.example_id
    stored = np.array(table.filter(mine)["hidden"].to_pylist(), dtype=np.uint16)
    hidden = from_storage(stored, "bfloat16")
    assert hidden.dtype == torch.bfloat16
    assert torch.equal(hidden, live(world, row, "bfloat16")[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_bit_pattern_of_a_half_precision_number_survives_storage(dtype):
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).view(256, 256)
    stored = to_storage(patterns)
    assert stored.dtype == np.uint16
    back = from_storage(stored, str(dtype).removeprefix("torch."))
    assert torch.equal(back.view(torch.int16), patterns.view(torch.int16))


def test_provenance_names_model_tokenizer_template_and_examples(world, tmp_path):
    write_states(world.model, world.examples, tmp_path / "s.parquet", world.settings)
    facts = tables.provenance(tmp_path / "s.parquet")
    assert facts.items() >= reference_provenance(world.model, world.settings).items()
    assert facts["model"] != models.fingerprint(world.other_model)
    assert facts["examples"] == tables.content_digest(world.examples)
    assert (facts["parts"], facts["width"]) == ("forget", "16")


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
