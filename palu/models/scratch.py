"""Models that start from nothing, tokenizer included: the same settings, texts and seed give the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from palu.models.settings import SPECIAL_TOKENS, Architecture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

UNKNOWN_TOKEN, START_TOKEN, END_TOKEN = SPECIAL_TOKENS


def build_from_scratch(
    architecture: Architecture, texts: Sequence[str], seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """An untrained Llama with its own byte-level BPE tokenizer: the same inputs give the same bits.

    The vocabulary is what `texts` support, at most `architecture.vocab_size`: no row of the head stands for nothing.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(texts, architecture.vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        intermediate_size=architecture.intermediate_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        max_position_embeddings=architecture.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": architecture.rope_theta},
        tie_word_embeddings=architecture.tie_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model, tokenizer


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with Llama's special tokens: bos comes first by itself, no end token is added, pad = end."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    # Replaces ByteLevel's own post-processor, so offsets keep a token's leading space
    backend.post_processor = processors.TemplateProcessing(
        single=f"{START_TOKEN} $A",
        pair=f"{START_TOKEN} $A $B",
        special_tokens=[(START_TOKEN, SPECIAL_TOKENS.index(START_TOKEN))],
    )
    kind: Any = PreTrainedTokenizerFast
    return cast(
        "PreTrainedTokenizerFast",
        kind(
            tokenizer_object=backend,
            unk_token=UNKNOWN_TOKEN,
            bos_token=START_TOKEN,
            eos_token=END_TOKEN,
            pad_token=END_TOKEN,
            clean_up_tokenization_spaces=False,
        ),
    )
