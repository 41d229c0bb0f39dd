import numpy as np
import pytest
import torch

from palu.evaluation import gradnorm
from palu.evaluation.gradnorm import gradient_norms
from palu.models import TemplateSettings, load_model, load_tokenizer
from palu.tokens import encode


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
