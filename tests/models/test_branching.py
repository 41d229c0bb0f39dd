"""Which models may compute once what rows begin with alike, and that no other does."""

import numpy as np
import pytest
import torch
import transformers

from palu import models
from palu.evaluation.logprobs import judge
from palu.roles import COMMON, PROMPT
from palu.tokens import TokenRow
from tests.models.test_selfcheck import OPT, model_of

WIDTH = 32
SOUND = {
    "llama": (transformers.LlamaConfig, {}),
    "gpt2": (transformers.GPT2Config, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    "gemma2": (transformers.Gemma2Config, {"head_dim": 8, "sliding_window": 64}),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 8}),
    "mixtral": (transformers.MixtralConfig, {"num_local_experts": 2}),
    "window of a row": (transformers.MistralConfig, {"sliding_window": WIDTH}),
}
FAULTY = {
    "state space": (transformers.MambaConfig, {}),
    "positions from the mask": (transformers.OPTConfig, OPT),
    "distances from the mask": (transformers.BloomConfig, {"n_layer": 2, "n_head": 2}),
    "window shorter than a row": (transformers.MistralConfig, {"sliding_window": WIDTH - 8}),
    "window of places": (
        transformers.GPTNeoConfig,
        {"num_layers": 2, "num_heads": 2, "attention_types": [[["local", "local"], 1]], "window_size": WIDTH - 8},
    ),
}


def rows_that_begin_alike():
    """Five rows of WIDTH tokens at most: four share a prompt, two of them more than that."""
    draw = np.random.default_rng(0)
    prompt, words = draw.integers(3, 120, 8), draw.integers(3, 120, (5, 20))
    replies = [words[0], np.concatenate([words[0][:5], words[1]])[:24], words[2][:1], words[3]]
    tokens = [np.concatenate([prompt, reply]) for reply in replies] + [words[4]]
    return [
        TokenRow(
            example_id=str(i),
            input_ids=ids.astype(np.int32),
            reply_start=8,
            role=np.where(np.arange(len(ids)) < 8, PROMPT, COMMON).astype(np.int8),
            span_offset=np.full(len(ids), -1, np.int16),
            char_start=np.zeros(len(ids), np.int32),
            char_end=np.zeros(len(ids), np.int32),
            truncated=False,
        )
        for i, ids in enumerate(tokens)
    ]


def check_rows(model):
    """Every log-probability is that of the row alone, through the model's own logits."""
    rows = rows_that_begin_alike()
    for row, found in zip(rows, judge(model, rows, pad_id=0), strict=True):
        ids = torch.from_numpy(row.input_ids.astype(np.int64))[None]
        with torch.no_grad():
            expected = model(input_ids=ids, use_cache=False).logits[0, 7:-1].float().log_softmax(-1)
        np.testing.assert_allclose(found.log_probs, expected.gather(-1, ids[0, 8:, None])[:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "options"), SOUND.values(), ids=SOUND)
def test_rows_share_their_first_tokens_where_that_changes_nothing(kind, options):
    model = model_of(kind, **options)
    assert models.branching_fault(model, WIDTH) is None
    check_rows(model)


@pytest.mark.parametrize(("kind", "options"), FAULTY.values(), ids=FAULTY)
def test_a_model_that_would_read_such_rows_otherwise_computes_each_by_itself(kind, options, caplog):
    model = model_of(kind, **options)
    assert models.branching_fault(model, WIDTH) is not None
    check_rows(model)
    assert "the tokens that rows begin with alike are computed for each row: " in caplog.text


def test_the_probe_does_not_exceed_the_models_positions():
    assert models.branching_fault(model_of(transformers.GPT2Config, n_embd=16, n_positions=20, n_head=2), 256) is None
