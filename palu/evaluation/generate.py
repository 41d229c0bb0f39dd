"""Greedy answers to many prompts at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from palu.errors import UserError
from palu.models import (
    RenderedPrompt,
    TemplateSettings,
    cache_fault,
    check_length,
    check_tokens,
    end_tokens,
    left_padding_fault,
    next_logits,
    output_head,
    render_prompt,
)

logger = logging.getLogger(__name__)

# Keys and values of one batch, where no GPU says how much memory is free
CPU_CACHE_BYTES = 2**30
# Of a GPU's free memory; the rest is for activations and logits
GPU_CACHE_SHARE = 0.5
# Rows that have finished are dropped once they are this share of a batch: dropping copies the whole cache
DROP_SHARE = 0.125
# A step with a cache multiplies one token a row: on a CPU the product of 3 to 15 rows with a large matrix took longer
# than that of 16 (seen with AVX-512), so no batch shrinks to so few
SLOW_ROWS = range(3, 16)


@dataclass(frozen=True)
class Generation:
    """text: without white space around it, as in the peer's logs; with it, where the template is `raw`: there an empty
    line may end the answer. token_count: the end left out."""

    text: str
    token_count: int


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Mapping[str, Any]],
    template: TemplateSettings,
    max_length: int,
    max_new_tokens: int,
    advance: Callable[[int], object] = lambda _rows: None,
) -> list[Generation]:
    """The model's greedy reply to the prompt of each example, in their order.

    The naive program is `model.generate(do_sample=False)` on one prompt after the other. advance: told how many
    rows have finished since it was last called.
    Raises UserError for a prompt without a token, one that fills `max_length` by itself or has a token that the model
    has no embedding for, and a `max_length` beyond the model's positions.
    """
    if not examples:
        return []
    check_length(tokenizer, max_length)
    # a model that the self-check refuses is not asked either
    output_head(model)
    rendered = [
        render_prompt(template.template, row["prompt"], tokenizer, template.system_prompt, template.date)
        for row in examples
    ]
    # In training a space that ends the template belongs to the reply's first word (`Answer: ` + `Oslo` has the token
    # ` Oslo`): the model has hardly seen it as a token of its own, so it is left for the model to write. A prompt
    # that is written out in full is taken as it is: MUSE's own code asks with the space.
    is_raw = template.template == "raw"
    if not is_raw:
        rendered = [replace(prompt, text=prompt.text.rstrip(" ")) for prompt in rendered]
    prompts = [
        _prompt_tokens(prompt, row, tokenizer, max_length) for prompt, row in zip(rendered, examples, strict=True)
    ]
    # a chat template's own end may be neither the tokenizer's nor the model's
    *before_stop, stop = end_tokens(template, tokenizer) or [tokenizer.eos_token_id]
    stop_ids = torch.tensor(sorted({*stop_tokens(model, tokenizer), stop}), device=model.device)
    replies: list[list[int]] = [[] for _ in prompts]
    room = cache_rows(model)
    if len(prompts) > 1 and (fault := left_padding_fault(model)):
        logger.warning("prompts are answered one by one: %s", fault)
        room = 0
    for batch in batches([len(prompt) for prompt in prompts], max_new_tokens, room):
        found = greedy(model, [prompts[i] for i in batch], stop_ids, max_new_tokens, advance)
        for i, reply in zip(batch, found, strict=True):
            is_ended = before_stop and reply[-len(before_stop) :] == before_stop
            replies[i] = reply[: -len(before_stop)] if is_ended else reply
    texts = tokenizer.batch_decode(replies, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [
        Generation(text if is_raw else text.strip(), len(reply)) for text, reply in zip(texts, replies, strict=True)
    ]


def _prompt_tokens(
    prompt: RenderedPrompt, row: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> list[int]:
    ids: list[int] = tokenizer(
        prompt.text,
        add_special_tokens=prompt.add_special_tokens,
        return_attention_mask=False,
        verbose=False,
    )["input_ids"]
    if prompt.add_special_tokens and ids[-1:] == [tokenizer.eos_token_id]:
        ids = ids[:-1]
    check_tokens(tokenizer, ids, f"example {row['example_id']!r}")
    if not 0 < len(ids) < max_length:
        raise UserError(
            f"example {row['example_id']!r}: its prompt takes {len(ids)} tokens; allowed: 1 to max_length - 1 = "
            f"{max_length - 1}"
        )
    return ids


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens that end a reply: the tokenizer's end token and those of the model's generation_config.json.

    Raises UserError where that names anything but tokens' numbers.
    """
    own: Any = getattr(model.generation_config, "eos_token_id", None)
    own_ids = [] if own is None else own if isinstance(own, list) else [own]
    for token in own_ids:
        if not isinstance(token, int):
            place = model.config.name_or_path or model.config.model_type
            raise UserError(f"{place}: generation_config.json: eos_token_id: {token!r}; allowed: whole numbers")
    return sorted({*own_ids, tokenizer.eos_token_id})


def cache_rows(model: PreTrainedModel) -> int:
    """How many tokens' keys and values fit into the memory set aside for them.

    A model without attention counts as if all of its hidden state were a head.
    """
    config: Any = model.config
    all_heads = getattr(config, "num_attention_heads", None) or 1
    heads = getattr(config, "num_key_value_heads", None) or all_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // all_heads
    bytes_per_token = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    free = CPU_CACHE_BYTES
    if model.device.type == "cuda":
        free = int(GPU_CACHE_SHARE * torch.cuda.mem_get_info(model.device)[0])
    return int(free // bytes_per_token)


def batches(lengths: Sequence[int], max_new_tokens: int, cache_tokens: int) -> Iterator[list[int]]:
    """Indices of prompts of like length, longest first, as many as the cache holds once all replies are full."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * (lengths[batch[0]] + max_new_tokens) > cache_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def greedy(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop_ids: Tensor,
    max_new_tokens: int,
    advance: Callable[[int], object],
) -> list[list[int]]:
    """The most probable token after each prompt, and so on, until a stop token, which is left out, or the limit.

    prompts: B lists of token ids. All rows step together, padded on the left, and leave the batch as they finish,
    where the model's cache can let go of rows. A model without a cache reads the whole sequence at every step.
    """
    input_ids, mask = _padded_left(prompts, int(stop_ids[0]), model.device)
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    # Positions that the model has left after each prompt, whatever else is in the batch
    longest = getattr(model.config, "max_position_embeddings", None) or max_new_tokens + mask.shape[1]
    room = (longest - mask.sum(-1)).clamp(min=1, max=max_new_tokens)
    steps = int(room.max())
    chosen = torch.full((len(prompts), steps), int(stop_ids[0]), device=model.device)
    rows = torch.arange(len(prompts), device=model.device)
    running = torch.ones_like(rows, dtype=torch.bool)
    cache: Any = None
    use_cache = cache_fault(model) is None
    told = 0
    for step in range(steps):
        logits, cache = next_logits(model, input_ids, mask, position_ids, cache, use_cache)
        best = logits.argmax(-1)
        running &= ~torch.isin(best, stop_ids)
        chosen[rows[running], step] = best[running]
        running &= step + 1 < room[rows]
        left = int(running.sum())
        advance(len(prompts) - left - told)
        told = len(prompts) - left
        if left == 0:
            break
        begun = (input_ids, position_ids) if cache is None else (input_ids[:, :0], position_ids[:, :0])
        input_ids = torch.cat([begun[0], best[:, None]], dim=-1)
        position_ids = torch.cat([begun[1], position_ids[:, -1:] + 1], dim=-1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=-1)
        is_worth_it = left <= (1 - DROP_SHARE) * len(rows) and (cache is None or left not in SLOW_ROWS)
        if is_worth_it and _can_drop(cache):
            kept = running.nonzero()[:, 0]
            if cache is not None:
                cache.batch_select_indices(kept)
            rows, running, mask = rows[kept], running[kept], mask[kept]
            input_ids, position_ids = input_ids[kept], position_ids[kept]
    advance(len(prompts) - told)
    return [_until(reply, set(stop_ids.tolist())) for reply in chosen.tolist()]


def _can_drop(cache: Any) -> bool:
    """Whether a cache, or none, can let go of rows. Those with a recurrent state, and families' own caches, cannot, or
    forget a part of themselves."""
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return cache is None or (type(cache) is DynamicCache and all(type(layer) in plain for layer in cache.layers))


def _until(reply: list[int], stop_ids: set[int]) -> list[int]:
    return next((reply[:i] for i, token in enumerate(reply) if token in stop_ids), reply)


def _padded_left(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(len(prompt) for prompt in prompts)
    input_ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
    mask = np.zeros((len(prompts), width), dtype=np.int64)
    for i, prompt in enumerate(prompts):
        input_ids[i, width - len(prompt) :] = prompt
        mask[i, width - len(prompt) :] = 1
    return torch.from_numpy(input_ids).to(device), torch.from_numpy(mask).to(device)
