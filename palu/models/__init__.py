"""The only place where weights and tokenizers are loaded or saved, and where prompts are rendered.

Importing it loads no torch and no transformers: studies read the settings at every start of Snakemake.
"""

from palu.models.adapters import AdapterBase, adapter_base, add_adapter
from palu.models.body import head_weight, hidden_and_layer_states, hidden_states, next_logits
from palu.models.branching import branching_fault
from palu.models.capacity import check_length, check_tokens
from palu.models.precision import computing_in
from palu.models.prompts import TEMPLATES, RenderedPrompt, end_tokens, render_prompt
from palu.models.recomputation import recompute_blocks
from palu.models.scratch import build_from_scratch, train_tokenizer
from palu.models.selfcheck import cache_fault, check_layer, left_padding_fault, output_head, packing_fault
from palu.models.settings import (
    Architecture,
    LoraSettings,
    ModelSettings,
    TemplateSettings,
    is_small,
    model_key,
    weights_dtype,
)
from palu.models.storage import (
    check_model,
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
from palu.models.twin import structure_notes

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
    "branching_fault",
    "build_from_scratch",
    "cache_fault",
    "check_layer",
    "check_length",
    "check_model",
    "check_offsets",
    "check_tokens",
    "chosen_device",
    "computing_in",
    "end_tokens",
    "fingerprint",
    "head_weight",
    "hidden_and_layer_states",
    "hidden_states",
    "is_small",
    "left_padding_fault",
    "link_checkpoint",
    "load_model",
    "load_tokenizer",
    "merge_adapter",
    "model_folder",
    "model_key",
    "next_logits",
    "output_head",
    "packing_fault",
    "recompute_blocks",
    "render_prompt",
    "save_model",
    "structure_notes",
    "tokenizer_fingerprint",
    "train_tokenizer",
    "weights_dtype",
]
