"""The only place where weights and tokenizers are loaded or saved, and where prompts are rendered.

Importing it loads no torch and no transformers: studies read the settings at every start of Snakemake.
"""

from palu.models.adapters import AdapterBase, adapter_base, add_adapter
from palu.models.body import check_head, head_weight, hidden_and_layer_states, hidden_states, output_head
from palu.models.prompts import TEMPLATES, RenderedPrompt, render_prompt
from palu.models.recomputation import recompute_blocks
from palu.models.scratch import build_from_scratch, train_tokenizer
from palu.models.settings import Architecture, LoraSettings, ModelSettings, TemplateSettings, model_key, weights_dtype
from palu.models.storage import (
    check_offsets,
    chosen_device,
    fingerprint,
    link_checkpoint,
    load_model,
    load_tokenizer,
    merge_adapter,
    model_folder,
    save_model,
    tokenizer_fingerprint,
)

__all__ = [
    "TEMPLATES",
    "AdapterBase",
    "Architecture",
    "LoraSettings",
    "ModelSettings",
    "RenderedPrompt",
    "TemplateSettings",
    "adapter_base",
    "add_adapter",
    "build_from_scratch",
    "check_head",
    "check_offsets",
    "chosen_device",
    "fingerprint",
    "head_weight",
    "hidden_and_layer_states",
    "hidden_states",
    "link_checkpoint",
    "load_model",
    "load_tokenizer",
    "merge_adapter",
    "model_folder",
    "model_key",
    "output_head",
    "recompute_blocks",
    "render_prompt",
    "save_model",
    "tokenizer_fingerprint",
    "train_tokenizer",
    "weights_dtype",
]
