import numpy as np
import pytest
import torch

from palu.evaluation import logprobs
from palu.evaluation.logprobs import judge, to_table
from palu.models import TemplateSettings, load_model, load_tokenizer
from palu.tokens import encode, encode_whole


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path)


@pytest.fixture(scope="module")
def rows(examples, model_path):
    return encode(examples, load_tokenizer(model_path), TemplateSettings(template="llama2-chat"), 60)


def naive(model, row):
    """One row by itself, through the model's own logits."""
    ids = torch.tensor(row.input_ids[None], dtype=torch.int64)
    with torch.no_grad():
        log_p = model(ids).logits[0].log_softmax(-1)
    targets = ids[0, row.first_target :]
    before = log_p[row.first_target - 1 : -1]
    return before.gather(-1, targets[:, None])[:, 0].numpy(), (before.argmax(-1) == targets).numpy()


@pytest.mark.parametrize(("tokens_per_batch", "positions_per_block"), [(1, 1), (200, 7), (10**6, 10**6)])
def test_batches_and_blocks_give_what_each_row_gives_by_itself(
    model, rows, tokens_per_batch, positions_per_block, monkeypatch
):
    monkeypatch.setitem(logprobs.TOKENS_PER_BATCH, "cpu", tokens_per_batch)
    monkeypatch.setitem(logprobs.POSITIONS_PER_BLOCK, "cpu", positions_per_block)
    found = judge(model, rows, pad_id=2)
    assert len(found) == len(rows)
    for row, judged in zip(rows, found, strict=True):
        expected, hits = naive(model, row)
        np.testing.assert_allclose(judged.log_probs, expected, rtol=1e-5, atol=1e-5)
        assert judged.argmax_hits.tolist() == hits.tolist()
    assert any(judged.argmax_hits.any() for judged in found)
    assert any(row.truncated for row in rows)


def test_rows_of_the_same_tokens_are_judged_once(model, rows, monkeypatch):
    passed = []
    real = logprobs.hidden_states

    def count(model, batch):
        passed.append(batch.input_ids)
        return real(model, batch)

    monkeypatch.setattr(logprobs, "hidden_states", count)
    told = []
    found = judge(model, [rows[0], rows[1], rows[0]], 2, told.append)
    once = len({tuple(row.input_ids[:t]) for row in rows[:2] for t in range(1, len(row) + 1)})
    assert [tokens.shape for tokens in passed] == [(1, once)]
    assert once < len(rows[0]) + len(rows[1])
    assert found[0].log_probs.tolist() == found[2].log_probs.tolist()
    assert sum(told) == 3


@pytest.mark.parametrize("line_tokens", [1, 40, 10**6])
def test_lines_of_any_length_give_what_each_row_gives_by_itself(model, rows, line_tokens, monkeypatch):
    monkeypatch.setattr(logprobs, "LINE_TOKENS", line_tokens)
    for row, judged in zip(rows, judge(model, rows, pad_id=2), strict=True):
        np.testing.assert_allclose(judged.log_probs, naive(model, row)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions_per_block", [3, 10**6])
def test_the_moments_are_those_of_the_models_own_distribution(model, rows, positions_per_block, monkeypatch):
    monkeypatch.setitem(logprobs.POSITIONS_PER_BLOCK, "cpu", positions_per_block)
    wanted = {rows[1].example_id, rows[3].example_id}
    found = judge(model, rows[:5], pad_id=2, with_moments=wanted)
    for row, judged in zip(rows, found, strict=False):
        if row.example_id not in wanted:
            assert judged.expected is None
            assert judged.variance is None
            continue
        with torch.no_grad():
            log_p = model(torch.tensor(row.input_ids[None], dtype=torch.int64)).logits[0].double().log_softmax(-1)
        before = log_p[row.first_target - 1 : -1]
        mean = (before.exp() * before).sum(-1)
        np.testing.assert_allclose(judged.expected, mean, rtol=1e-4)
        variance = (before.exp() * before.square()).sum(-1) - mean.square()
        np.testing.assert_allclose(judged.variance, variance, rtol=1e-3)
    table = to_table(rows[:5], found).to_pylist()
    assert [entry["expected_log_probs"] is not None for entry in table] == [False, True, False, True, False]
    assert table[3]["log_prob_variances"] == pytest.approx(found[3].variance)


def test_only_the_first_of_equal_logits_is_a_hit():
    weight = torch.tensor([[1.0], [1.0], [0.0]])
    projection = logprobs.Projection(weight)
    asked = torch.zeros(3, dtype=torch.bool)
    log_probs, hits, _, _ = logprobs.predict(projection, torch.ones(3, 1), torch.tensor([0, 1, 2]), asked)
    assert hits.tolist() == [True, False, False]
    assert log_probs[0] == log_probs[1] > log_probs[2]


def test_a_collapsed_model_gives_nan_and_no_hit():
    projection = logprobs.Projection(torch.tensor([[1.0], [2.0]]))
    states, target, asked = torch.tensor([[float("nan")]]), torch.tensor([1]), torch.tensor([True])
    log_probs, hits, expected, variance = logprobs.predict(projection, states, target, asked)
    assert log_probs.isnan().all()
    assert expected.isnan().all()
    assert variance.isnan().all()
    assert not hits.any()


def test_the_table_holds_one_value_per_predicted_token(model, rows):
    found = to_table(rows[:2], judge(model, rows[:2], 2)).to_pylist()
    for row, entry in zip(rows, found, strict=False):
        assert entry["example_id"] == row.example_id
        assert entry["token_ids"] == row.input_ids[row.reply_start :].tolist()
        assert entry["char_ends"] == row.char_end[row.reply_start :].tolist()
        assert entry["end_count"] == row.end_count == 1
        assert len(entry["log_probs"]) == len(entry["argmax_hits"]) == len(entry["token_ids"])


def test_the_pieces_of_a_document_are_one_row_of_the_table(model, model_path):
    tokenizer, template = load_tokenizer(model_path), TemplateSettings(template="raw")
    texts = {"a": "Ann lives in Oslo, by the sea. " * 4, "b": "Short.", "c": "And then she left. " * 3}
    documents = [{"example_id": key, "prompt": "", "reply": text} for key, text in texts.items()]
    rows = encode(documents, tokenizer, template, 24)
    judged = judge(model, rows, 2, with_moments={"a"})
    found = to_table(rows, judged).to_pylist()
    assert len(rows) > len(found)
    assert [entry["example_id"] for entry in found] == list(texts)
    for entry, whole in zip(found, encode_whole(documents, tokenizer, template, 24), strict=True):
        assert entry["token_ids"] == whole.input_ids[1:].tolist()
        assert entry["char_starts"] == whole.char_start[1:].tolist()
        assert entry["char_ends"] == whole.char_end[1:].tolist()
        assert entry["end_count"] == 0
        assert entry["char_ends"][-1] == len(texts[entry["example_id"]]), "the last value is of real text"
        of_pieces = [naive(model, row)[0] for row in rows if row.example_id == entry["example_id"]]
        np.testing.assert_allclose(entry["log_probs"], np.concatenate(of_pieces), rtol=1e-4, atol=1e-5)
        assert len(entry["argmax_hits"]) == len(entry["log_probs"])
    assert len(found[0]["expected_log_probs"]) == len(found[0]["log_probs"])
    assert found[1]["expected_log_probs"] is None
