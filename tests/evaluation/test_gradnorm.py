import numpy as np
import pytest
import torch

from palu.evaluation import gradnorm
from palu.evaluation.gradnorm import gradient_norms
from palu.models import TemplateSettings, load_model, load_tokenizer
from palu.tokens import encode
from tests import hard_models


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path)


@pytest.fixture(scope="module")
def rows(examples, model_path):
    return encode(examples[:7], load_tokenizer(model_path), TemplateSettings(template="llama2-chat"), 60)


def naive(model, row):
    """loss.backward() through the model's own logits."""
    ids = torch.tensor(row.input_ids[None], dtype=torch.int64)
    log_p = model(ids).logits[0].log_softmax(-1)
    chosen = [-log_p[t - 1, ids[0, t]] for t in range(row.first_target, len(row) - 1)]
    gradients = torch.autograd.grad(torch.stack(chosen).mean(), list(model.parameters()))
    return float(torch.stack([gradient.norm() for gradient in gradients]).mean())


@pytest.mark.parametrize(("rows_per_batch", "gradient_bytes"), [(3, 2**28), (32, 2**28), (32, 1)])
def test_each_row_has_the_norm_of_its_own_gradient(model, rows, rows_per_batch, gradient_bytes, monkeypatch):
    monkeypatch.setattr(gradnorm, "ROWS_PER_BATCH", rows_per_batch)
    monkeypatch.setitem(gradnorm.GRADIENT_BYTES, "cpu", gradient_bytes)
    told = []
    found = gradient_norms(model, rows, told.append)
    np.testing.assert_allclose(found, [naive(model, row) for row in rows], rtol=1e-4)
    assert sum(told) == len(rows)
    assert len(set(found)) > 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_tied_head_counts_once(model_path, rows):
    model = load_model(model_path)
    model.lm_head.weight = model.model.embed_tokens.weight
    found = gradient_norms(model, rows[:2])
    np.testing.assert_allclose(found, [naive(model, row) for row in rows[:2]], rtol=1e-4)
    np.testing.assert_allclose(found, [gradnorm.one_by_one(model, [row]) for row in rows[:2]], rtol=1e-4)


def test_a_row_with_one_target_has_no_norm(model, rows, examples, model_path):
    first = rows[0].first_target
    short = encode(examples[:1], load_tokenizer(model_path), TemplateSettings(template="llama2-chat"), first + 1)
    assert len(short[0]) == first + 1
    found = gradient_norms(model, [short[0], rows[1]])
    assert np.isnan(found[0])
    assert found[1] > 0


def of_pieces(model, pieces):
    """The gradient of one loss: the mean over the targets of all pieces but the very last."""
    chosen = []
    for piece in pieces:
        ids = torch.tensor(piece.input_ids[None], dtype=torch.int64)
        log_p = model(ids).logits[0].log_softmax(-1)
        chosen += [-log_p[t - 1, ids[0, t]] for t in range(piece.first_target, len(piece))]
    gradients = torch.autograd.grad(torch.stack(chosen[:-1]).mean(), list(model.parameters()))
    return float(torch.stack([gradient.norm() for gradient in gradients]).mean())


def test_a_document_in_pieces_has_the_norm_of_one_gradient(model, model_path):
    texts = ["Ann lives in Oslo, by the sea. " * 4, "Short.", "And then she left. " * 3, "Another."]
    documents = [{"example_id": text, "prompt": "", "reply": text} for text in texts]
    rows = encode(documents, load_tokenizer(model_path), TemplateSettings(template="raw"), 24)
    told = []
    found = gradient_norms(model, rows, told.append)
    expected = [of_pieces(model, [row for row in rows if row.example_id == text]) for text in texts]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(rows) > len(texts)
    assert sum(told) == len(rows)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_last_piece_of_one_token_adds_nothing_to_the_gradient(model, model_path):
    tokenizer, text = load_tokenizer(model_path), "Ann lives in Oslo, by the sea."
    (whole,) = encode([{"example_id": "a", "prompt": "", "reply": text}], tokenizer, TemplateSettings(), 512)
    rows = encode([{"example_id": "a", "prompt": "", "reply": text}], tokenizer, TemplateSettings(), len(whole) - 1)
    assert [len(row) for row in rows] == [len(whole) - 1, 2]
    np.testing.assert_allclose(gradient_norms(model, rows), gradient_norms(model, [whole]), rtol=1e-4)


def test_long_rows_do_not_share_a_pass(model, rows, monkeypatch):
    passes = []
    real = gradnorm.vectorised
    monkeypatch.setattr(gradnorm, "vectorised", lambda model, rows: passes.append(len(rows)) or real(model, rows))
    monkeypatch.setattr(gradnorm, "PAIRS_PER_BATCH", 2 * max(map(len, rows)) ** 2)
    gradient_norms(model, rows)
    assert max(passes) < len(rows)


@pytest.mark.parametrize("kind", ["gpt2", "opt350", "qwen3_5", "multimodal_gemma3"])
def test_a_model_that_cannot_be_vectorised_goes_row_by_row(kind, tmp_path, caplog):
    """GPT-2 with a padding token looks at its tokens' values, which a batched pass does not have."""
    model = load_model(hard_models.write(kind, tmp_path / kind))
    examples = [{"example_id": str(n), "prompt": "Where?", "reply": "In Oslo" + " or Lima" * n} for n in range(4)]
    rows = encode(examples, load_tokenizer(tmp_path / kind), TemplateSettings(), 60)
    told = []
    found = gradient_norms(model, rows, told.append)
    np.testing.assert_allclose(found, [naive(model, row) for row in rows], rtol=1e-3)
    assert sum(told) == len(rows)
    assert sum("row by row" in record.message for record in caplog.records) == (kind == "gpt2")


def test_a_single_document_does_not_end_the_shared_passes(model, rows, monkeypatch):
    passes = []
    real = gradnorm.vectorised
    monkeypatch.setattr(gradnorm, "vectorised", lambda model, rows: passes.append(len(rows)) or real(model, rows))
    longest = max(map(len, rows))
    monkeypatch.setattr(gradnorm, "PAIRS_PER_BATCH", longest**2)
    gradient_norms(model, rows)
    assert passes
    assert len(rows) > sum(passes), "the longest row goes alone"


def test_no_memory_is_no_reason_to_go_row_by_row(model, rows, monkeypatch):
    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(gradnorm, "vectorised", refuse)
    with pytest.raises(MemoryError):
        gradient_norms(model, rows)
