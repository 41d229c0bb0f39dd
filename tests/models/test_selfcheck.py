"""What a model is found to do, on families that differ in it."""

import pytest
import torch
import transformers

from palu import models
from palu.errors import UserError
from palu.heads import Head, LogitTransform
from palu.models.probe import ProbeLines

SIZES = {
    "vocab_size": 120,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
OPT = {"word_embed_proj_dim": 16, "ffn_dim": 24}


def model_of(kind, dtype=torch.float32, **options):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(kind(**{**SIZES, **options})).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2 and "A_log" not in name and "conv" not in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    return model.to(dtype)


TRANSFORMS = {
    "llama": (transformers.LlamaConfig, {}, LogitTransform()),
    "gemma2": (transformers.Gemma2Config, {"head_dim": 8, "final_logit_softcapping": 30.0}, LogitTransform(1.0, 30.0)),
    "cohere": (transformers.CohereConfig, {"logit_scale": 0.0625}, LogitTransform(0.0625)),
    "granite": (transformers.GraniteConfig, {"logits_scaling": 7.0}, LogitTransform(1 / 7)),
}
every_transform = pytest.mark.parametrize(("kind", "options", "transform"), TRANSFORMS.values(), ids=TRANSFORMS)


@every_transform
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_transform_of_the_logits_is_measured_exactly(kind, options, transform, dtype):
    assert models.output_head(model_of(kind, dtype, **options)).transform == transform


@every_transform
def test_the_head_gives_the_log_probabilities_of_the_model(kind, options, transform):  # noqa: ARG001
    model = model_of(kind, **options)
    # far enough out that a cap bends the logits
    model.get_output_embeddings().weight.data.mul_(20)
    ids = torch.randint(3, 120, (1, 9), generator=torch.Generator().manual_seed(1))
    batch = ProbeLines(ids, torch.arange(9)[None], [])
    with torch.no_grad():
        weight, bias, found = models.output_head(model)
        states = models.hidden_states(model, batch)[:-1]
        log_prob = Head(weight, bias, transform=found).log_prob(states, ids[0, 1:])
        expected = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    torch.testing.assert_close(log_prob, expected, atol=1e-5, rtol=1e-4)


def test_a_layer_before_the_output_matrix_is_refused_in_one_line():
    model = model_of(transformers.ModernBertDecoderConfig, cls_token_id=1, sep_token_id=2)
    with pytest.raises(UserError) as error:
        models.output_head(model)
    assert "'modernbert-decoder' cannot be used: a layer between its last hidden state and its output" in str(
        error.value
    )
    assert "\n" not in str(error.value)


def test_logits_that_are_changed_otherwise_are_refused(monkeypatch):
    model = model_of(transformers.LlamaConfig)
    whole = model.forward

    def squared(**inputs):
        output = whole(**inputs)
        output.logits = output.logits.square()
        return output

    monkeypatch.setattr(model, "forward", squared)
    with pytest.raises(UserError, match="neither a multiple nor a soft cap"):
        models.output_head(model)


def test_a_model_that_reads_ahead_is_refused():
    with pytest.raises(UserError, match="a row depends on what comes after it in its batch"):
        models.output_head(model_of(transformers.BertConfig))


def test_rows_may_share_a_line_where_the_attention_keeps_them_apart():
    assert models.packing_fault(model_of(transformers.LlamaConfig)) is None
    assert models.packing_fault(model_of(transformers.LlamaConfig, torch.bfloat16)) is None


LEAKING = {
    "learned positions": (transformers.OPTConfig, OPT),
    "state space": (transformers.MambaConfig, {}),
    "linear attention": (
        transformers.Qwen3_5TextConfig,
        {
            "head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 1,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "options"), LEAKING.values(), ids=LEAKING)
def test_rows_that_would_leak_between_each_other_are_found(kind, options, dtype):
    assert models.packing_fault(model_of(kind, dtype, **options)) is not None


def test_a_cache_that_gives_other_logits_is_not_used(monkeypatch):
    assert models.cache_fault(model_of(transformers.LlamaConfig)) is None
    model = model_of(transformers.LlamaConfig)
    whole = model.forward

    def forgetful(past_key_values=None, **inputs):
        return whole(past_key_values=None if past_key_values is not None else past_key_values, **inputs)

    monkeypatch.setattr(model, "forward", forgetful)
    assert models.cache_fault(model) == "its cache gives other logits than the whole sequence"


def test_prompts_may_be_padded_on_the_left_where_that_changes_nothing():
    assert models.left_padding_fault(model_of(transformers.LlamaConfig)) is None
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "decoder_attention_heads": 2}
    # its positions count from the left whatever position_ids say
    assert models.left_padding_fault(model_of(transformers.BartConfig, decoder_ffn_dim=24, **sizes)) is not None


def test_the_state_after_a_block_is_compared_with_the_block_itself(monkeypatch):
    model = model_of(transformers.LlamaConfig)
    models.check_layer(model, 0)
    other = model_of(transformers.LlamaConfig)
    body = other.model.forward

    def shifted(**inputs):
        output = body(**inputs)
        if output.hidden_states is not None:
            output.hidden_states = output.hidden_states[1:] + output.hidden_states[-1:]
        return output

    monkeypatch.setattr(other.model, "forward", shifted)
    with pytest.raises(UserError, match="state after block 0 cannot be read"):
        models.check_layer(other, 0)


def test_a_model_is_looked_at_once(monkeypatch):
    model = model_of(transformers.LlamaConfig)
    models.output_head(model)
    monkeypatch.setattr(model, "forward", None)
    assert models.output_head(model).transform.is_identity
