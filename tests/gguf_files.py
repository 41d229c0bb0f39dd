"""A small Llama as a GGUF file, written by the format's own library as llama.cpp's converter writes it."""

import json
from pathlib import Path
from typing import Any

import gguf

from palu import models
from palu.models import Architecture

SIZES = Architecture(
    vocab_size=400, hidden_size=64, layers=2, heads=4, kv_heads=2, intermediate_size=96, tie_embeddings=True
)
TEXTS = [f"Number {n} was born in the town of {n * 7919} Oaks." for n in range(60)]
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
BLOCK = {
    **{"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"},
    **{"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"},
    **{"mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def small_model(sizes: Architecture = SIZES) -> tuple[Any, Any]:
    """The model and the tokenizer that `write` writes."""
    return models.build_from_scratch(sizes, TEXTS, seed=0)


def write(
    path: Path,
    sizes: Architecture = SIZES,
    architecture: str = "llama",
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    tokenizer_model: str | None = "gpt2",
    vocab_size: int | None = None,
) -> Path:
    """Write the small model. kind: of its matrices. tokenizer_model: none = a file without a tokenizer."""
    model, tokenizer = small_model(sizes)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("small")
    writer.add_block_count(sizes.layers)
    writer.add_context_length(sizes.max_positions)
    writer.add_embedding_length(sizes.hidden_size)
    writer.add_feed_forward_length(sizes.intermediate_size)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.kv_heads)
    writer.add_rope_freq_base(sizes.rope_theta)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_vocab_size(vocab_size or len(tokenizer))
    if tokenizer_model is not None:
        _add_tokenizer(writer, tokenizer, tokenizer_model)
    for name, tensor in model.named_parameters():
        numbers = tensor.detach().numpy()
        if "q_proj" in name or "k_proj" in name:
            # llama.cpp turns neighbouring pairs where transformers turns the halves of a head
            count = sizes.heads if "q_proj" in name else sizes.kv_heads
            numbers = numbers.reshape(count, 2, -1, numbers.shape[1]).swapaxes(1, 2).reshape(numbers.shape)
        chosen = kind if numbers.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(_name(name), gguf.quantize(numbers, chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, kind: str) -> None:
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special = set(tokenizer.all_special_tokens)
    types = [gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL for word in words]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model(kind)
    writer.add_token_list(words)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)


def _name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in OUTER:
        return f"{OUTER[stem]}.weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{BLOCK[rest]}.weight"
