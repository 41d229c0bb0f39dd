"""Tiny random checkpoints of kinds that other code trips over, with a byte-level tokenizer of 300 tokens or fewer."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from palu.models import train_tokenizer

TEXTS = ["Where does Ann live? Ann lives in Oslo.", "Who is Bo? Bo sings in the choir of Lima."]
SIZES: dict[str, Any] = {
    **{"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
}
IMAGES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
IMAGES |= {"image_size": 28, "patch_size": 14}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}


def config(kind: str) -> PreTrainedConfig:
    """The configuration of a kind; `multimodal_*` hold a text model and one for images."""
    t: Any = transformers
    narrow = {"word_embed_proj_dim": 16, "do_layer_norm_before": False, "ffn_dim": 48}
    old = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    ids = {key: SIZES[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    opt = {key: SIZES[key] for key in (*ids, "hidden_size", "num_hidden_layers", "num_attention_heads")}
    kinds = {
        "llama": lambda: t.LlamaConfig(**SIZES),
        "qwen2": lambda: t.Qwen2Config(**SIZES),
        "gpt2": lambda: t.GPT2Config(**ids, **old),
        "opt350": lambda: t.OPTConfig(**opt, **narrow, max_position_embeddings=128),
        "mamba": lambda: t.MambaConfig(**ids, hidden_size=32, num_hidden_layers=2, state_size=8),
        "qwen3_5": lambda: t.Qwen3_5TextConfig(
            **SIZES, **LINEAR, head_dim=8, layer_types=["linear_attention", "full_attention"]
        ),
        "falcon_h1": lambda: t.FalconH1Config(
            **SIZES, mamba_n_heads=8, mamba_d_head=8, mamba_d_ssm=64, mamba_d_state=8, mamba_n_groups=1
        ),
        "multimodal_gemma3": lambda: t.Gemma3Config(
            text_config={**SIZES, "head_dim": 8, "query_pre_attn_scalar": 8}, vision_config=IMAGES
        ),
        "multimodal_mistral3": lambda: t.Mistral3Config(
            text_config={**SIZES, "model_type": "mistral", "head_dim": 8},
            vision_config={**IMAGES, "model_type": "pixtral"},
        ),
        "multimodal_llava": lambda: t.LlavaConfig(
            text_config={**SIZES, "model_type": "llama"}, vision_config={**IMAGES, "model_type": "clip_vision_model"}
        ),
        "multimodal_idefics3": lambda: t.Idefics3Config(
            text_config={**SIZES, "model_type": "llama"}, vision_config=IMAGES
        ),
    }
    made: PreTrainedConfig = kinds[kind]()
    return made


def model(kind: str) -> PreTrainedModel:
    """A model of a kind with large random weights: one of the usual small weights finds all tokens alike."""
    is_multimodal = kind.startswith("multimodal")
    loader: Any = transformers.AutoModelForImageTextToText if is_multimodal else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    made: PreTrainedModel = loader.from_config(config(kind)).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() > 1 and "A_log" not in name and "conv" not in name:
                parameter.normal_(0, 0.25)
    return made


def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that `write` puts beside a model."""
    return train_tokenizer(TEXTS, 300)


def write(kind: str, folder: Path, **special_tokens: str) -> Path:
    """Write a checkpoint of a kind, as the library saves it. special_tokens: added to the tokenizer alone."""
    model(kind).save_pretrained(folder)
    own = tokenizer()
    own.add_special_tokens(dict(special_tokens))
    own.save_pretrained(folder)
    return folder
