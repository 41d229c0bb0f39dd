"""The self-check of a checkpoint whose weights are not read."""

import pytest
import torch
import transformers

from palu.errors import UserError
from palu.models.twin import structure_notes, twin_of


def bare(kind, **options):
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(kind(**options))


def test_a_twin_has_few_words_and_every_kind_of_block():
    kinds = ["linear_attention", "linear_attention", "linear_attention", "full_attention"] * 6
    model = bare(transformers.Qwen3_5TextConfig, layer_types=kinds, num_hidden_layers=24, hidden_size=64)
    twin = twin_of(model, 32)
    assert twin.config.layer_types == kinds[:4]
    assert twin.get_output_embeddings().weight.shape == (320, 64)
    assert model.config.num_hidden_layers == 24


def test_a_plain_architecture_of_any_size_has_no_note():
    llama = {"num_hidden_layers": 32, "vocab_size": 128256, "num_key_value_heads": 8, "intermediate_size": 14336}
    assert structure_notes(bare(transformers.LlamaConfig, hidden_size=1024, **llama)) == []


def test_what_the_stages_would_do_otherwise_is_a_note():
    notes = structure_notes(bare(transformers.OPTConfig, vocab_size=5000))
    assert notes == ["opt: machine.packed will be off: rows that share a line see each other"]


def test_what_the_stages_refuse_is_refused():
    with pytest.raises(UserError, match="a layer between its last hidden state and its output matrix"):
        structure_notes(bare(transformers.ModernBertDecoderConfig))


def test_an_architecture_that_cannot_be_made_small_waits_for_the_first_stage():
    notes = structure_notes(bare(transformers.LlamaConfig, hidden_size=16384, intermediate_size=28672))
    assert "the self-check waits for the first stage: its blocks have" in notes[0]
