"""From characters to token roles, and from rows of tokens to batches. The only room that knows both.

A sequence is bos + prompt + reply + end token. Its tokens are cut by the character offsets that the tokenizer
reports for the text prompt + reply tokenised as a whole: tokenising the two apart and counting gives other tokens
where a token straddles the border, and loses the first reply token of every row with the template `plain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from palu import tables
from palu.errors import UserError
from palu.models import RenderedPrompt, TemplateSettings, check_offsets, render_prompt
from palu.roles import COMMON, END, PROMPT, SENSITIVE
from palu.spans import Span, run_offsets, sensitive_tokens

IntArray = npt.NDArray[np.int64]

# Rows handed to the tokenizer at once: enough to use all its threads, few enough to bound Python's lists of offsets
TOKENIZER_ROWS = 2048


@dataclass(frozen=True, eq=False)
class TokenRow:
    """One example as T tokens: bos + prompt + reply + end.

    input_ids: (T,) int32. role: (T,) int8, of `palu.roles`. reply_start: index of the first reply token.
    span_offset: (T,) int16, 0, 1, 2... inside a run of sensitive tokens, -1 outside.
    char_start, char_end: (T,) int32, each reply token's characters, counted in code points of the reply; 0, 0 for
    the tokens of prompt and end. A token that straddles the prompt's end starts at 0.
    truncated: whether reply text was cut at the length limit. The end token is there where it fits.
    uncovered_spans, truncated_spans: spans that were left out, because no token covers more than white space of
    them, or because they lie in text that was cut.
    """

    example_id: str
    input_ids: npt.NDArray[np.int32]
    reply_start: int
    role: npt.NDArray[np.int8]
    span_offset: npt.NDArray[np.int16]
    char_start: npt.NDArray[np.int32]
    char_end: npt.NDArray[np.int32]
    truncated: bool
    uncovered_spans: int = 0
    truncated_spans: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def first_target(self) -> int:
        """Index of the first predicted token: the first of the reply, unless nothing at all stands before it."""
        return max(self.reply_start, 1)

    @property
    def has_end(self) -> bool:
        return bool(self.role[-1] == END)


@dataclass(frozen=True)
class SpanCounts:
    """How the spans of some rows became tokens; `str` of it is the line for a log."""

    rows: int
    truncated_rows: int
    sensitive_tokens: int
    reply_tokens: int
    uncovered: int
    truncated: int

    def __str__(self) -> str:
        return (
            f"{self.rows} rows ({self.truncated_rows} truncated), {self.sensitive_tokens} of {self.reply_tokens} "
            f"reply tokens sensitive; spans without a token: {self.uncovered}, in truncated text: {self.truncated}"
        )


def count_spans(rows: Sequence[TokenRow]) -> SpanCounts:
    """Add up what `encode` did with the spans of `rows`."""
    return SpanCounts(
        rows=len(rows),
        truncated_rows=sum(row.truncated for row in rows),
        sensitive_tokens=sum(int((row.role == SENSITIVE).sum()) for row in rows),
        reply_tokens=sum(int(((row.role == SENSITIVE) | (row.role == COMMON)).sum()) for row in rows),
        uncovered=sum(row.uncovered_spans for row in rows),
        truncated=sum(row.truncated_spans for row in rows),
    )


def read_spans(path: Path, expected: Mapping[str, str] | None = None) -> dict[str, list[Span]]:
    """A spans table as example_id -> [(char_start, char_end), ...]; `expected` is provenance to check."""
    spans: dict[str, list[Span]] = {}
    for row in tables.rows(path, "spans", expected):
        spans.setdefault(row["example_id"], []).append((row["char_start"], row["char_end"]))
    return spans


def encode(
    examples: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerFast,
    template: TemplateSettings,
    max_length: int,
    spans: Mapping[str, Sequence[Span]] | None = None,
) -> list[TokenRow]:
    """Tokenise examples (rows of the examples table) and mark the tokens that their character spans cover.

    A token is sensitive iff its characters, trimmed of white space, intersect a span; sensitive tokens in a row are
    one run, so touching spans are. A token that straddles the prompt's end belongs to the reply. The sequence is cut
    at `max_length` tokens; one end token follows where it fits.
    spans: example_id -> half-open (start, end) in code points of the reply; none = nothing is sensitive.
    Raises UserError, naming the example, for a span outside its reply, an empty reply, and a prompt that leaves the
    reply no room; and for a tokenizer without offsets.
    """
    check_offsets(tokenizer, "tokenizer")
    prompts = [
        render_prompt(template.template, example["prompt"], tokenizer, template.system_prompt, template.date)
        for example in examples
    ]
    texts = [prompt.text + example["reply"] for prompt, example in zip(prompts, examples, strict=True)]
    tokenised = _tokenise(texts, prompts, tokenizer)
    spans = spans or {}
    rows = []
    for example, prompt, tokens in zip(examples, prompts, tokenised, strict=True):
        own_spans = _checked_spans(example, spans.get(example["example_id"], ()))
        rows.append(_row(example, len(prompt.text), tokens, own_spans, tokenizer.eos_token_id, max_length))
    return rows


def _tokenise(
    texts: Sequence[str], prompts: Sequence[RenderedPrompt], tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Each text's token ids, character starts and ends, in order, without an end token that the tokenizer adds."""
    adds_end = tokenizer("")["input_ids"][-1:] == [tokenizer.eos_token_id]
    for first in range(0, len(texts), TOKENIZER_ROWS):
        chunk = range(first, min(first + TOKENIZER_ROWS, len(texts)))
        answers: dict[int, tuple[list[int], list[Span]]] = {}
        for add_special_tokens in (True, False):
            members = [i for i in chunk if prompts[i].add_special_tokens == add_special_tokens]
            if not members:
                continue
            encoded = tokenizer(
                [texts[i] for i in members],
                add_special_tokens=add_special_tokens,
                return_offsets_mapping=True,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
            answers |= dict(
                zip(members, zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), strict=True)
            )
        for i in chunk:
            ids, offsets = answers[i]
            flat = np.fromiter(chain.from_iterable(offsets), dtype=np.int64, count=2 * len(offsets))
            kept = len(ids) - (adds_end and prompts[i].add_special_tokens)
            yield np.array(ids[:kept], dtype=np.int64), flat[0 : 2 * kept : 2], flat[1 : 2 * kept : 2]


def _checked_spans(example: Mapping[str, Any], spans: Sequence[Span]) -> list[Span]:
    length = len(example["reply"])
    for start, end in spans:
        if not 0 <= start < end <= length:
            raise UserError(
                f"example {example['example_id']!r}: span {start}..{end} lies outside its reply of {length} "
                f"characters; allowed: 0 <= start < end <= {length}"
            )
    return list(spans)


def _row(
    example: Mapping[str, Any],
    prompt_length: int,
    tokens: tuple[IntArray, IntArray, IntArray],
    spans: Sequence[Span],
    end_id: int,
    max_length: int,
) -> TokenRow:
    name = f"example {example['example_id']!r}"
    input_ids, starts, ends = tokens
    in_reply = ends > prompt_length
    if not example["reply"].strip() or not in_reply.any():
        raise UserError(f"{name}: its reply {example['reply']!r} is empty after tokenization")
    reply_start = int(in_reply.argmax())
    if reply_start >= max_length:
        raise UserError(
            f"{name}: its prompt takes {reply_start} tokens, "
            f"which leaves the reply no room within max_length {max_length}"
        )
    truncated = len(input_ids) > max_length
    input_ids, starts, ends = input_ids[:max_length], starts[:max_length], ends[:max_length]

    role = np.full(len(input_ids), COMMON, dtype=np.int8)
    role[:reply_start] = PROMPT
    char_start = np.maximum(starts - prompt_length, 0)
    char_end = np.maximum(ends - prompt_length, 0)
    char_start[:reply_start] = char_end[:reply_start] = 0
    uncovered = cut = 0
    if spans:
        sensitive, found = sensitive_tokens(example["reply"], char_start, char_end, spans)
        role[sensitive] = SENSITIVE
        kept_text_end = int(char_end.max())
        cut = sum(start >= kept_text_end for (start, _), is_found in zip(spans, found, strict=True) if not is_found)
        uncovered = int((~found).sum()) - cut
    if input_ids[-1] == end_id:
        # The reply's own text ends with the end token: it is the one end token
        role[-1], char_start[-1], char_end[-1] = END, 0, 0
    elif len(input_ids) < max_length:
        input_ids, role = np.append(input_ids, end_id), np.append(role, np.int8(END))
        char_start, char_end = np.append(char_start, 0), np.append(char_end, 0)
    return TokenRow(
        example_id=example["example_id"],
        input_ids=input_ids.astype(np.int32),
        reply_start=reply_start,
        role=role,
        span_offset=run_offsets(role == SENSITIVE),
        char_start=char_start.astype(np.int32),
        char_end=char_end.astype(np.int32),
        truncated=truncated,
        uncovered_spans=uncovered,
        truncated_spans=cut,
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """B rows padded on the right to T tokens, and the P positions that predict a reply or end token.

    input_ids, attention_mask, position_ids: (B, T) int64. predict_index: (P,) int64 into the B*T flattened
    positions; position t predicts token t + 1. position: (P,) int64, t within its own sequence, bos = 0.
    target_ids: (P,) int64; role: (P,) int8 and span_offset: (P,) int16, of the predicted token.
    row: (P,) int64, 0..B-1 in order. row_count: B. example_ids: B names.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    predict_index: Tensor
    position: Tensor
    target_ids: Tensor
    role: Tensor
    span_offset: Tensor
    row: Tensor
    row_count: int
    example_ids: list[str]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        moved: dict[str, Any] = {
            key: value.to(device) if isinstance(value, Tensor) else value for key, value in vars(self).items()
        }
        return Batch(**moved)


def collate(rows: Sequence[TokenRow], pad_id: int) -> Batch:
    """Pad `rows` on the right with `pad_id` and flatten their predicting positions, row after row."""
    width = max(len(row) for row in rows)
    input_ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    attention_mask = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = row.input_ids
        attention_mask[i, : len(row)] = 1
    position = np.concatenate([np.arange(row.first_target, len(row)) - 1 for row in rows])
    row_index = np.repeat(np.arange(len(rows)), [len(row) - row.first_target for row in rows])
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        position_ids=torch.arange(width).repeat(len(rows), 1),
        predict_index=torch.from_numpy(row_index * width + position),
        position=torch.from_numpy(position),
        target_ids=torch.from_numpy(input_ids[row_index, position + 1]),
        role=torch.from_numpy(np.concatenate([row.role[row.first_target :] for row in rows])),
        span_offset=torch.from_numpy(np.concatenate([row.span_offset[row.first_target :] for row in rows])),
        row=torch.from_numpy(row_index),
        row_count=len(rows),
        example_ids=[row.example_id for row in rows],
    )


def length_buckets(rows: Sequence[TokenRow], tokens_per_batch: int) -> list[list[int]]:
    """Indices of `rows` in batches of like length, longest first, so that memory runs out at once or never.

    A batch of b rows padded to its longest T has b * T <= tokens_per_batch; a longer row stands alone.
    """
    buckets: list[list[int]] = []
    for i in sorted(range(len(rows)), key=lambda i: -len(rows[i])):
        if buckets and (len(buckets[-1]) + 1) * len(rows[buckets[-1][0]]) <= tokens_per_batch:
            buckets[-1].append(i)
        else:
            buckets.append([i])
    return buckets
