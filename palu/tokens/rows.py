"""From characters to token roles.

A sequence is bos + prompt + reply + end; a long document, which is a reply to no prompt, is several without an end.
Its tokens are cut by the character offsets that the tokenizer reports for the text prompt + reply tokenised as a
whole: tokenising the two apart and counting gives other tokens where a token straddles the border, and loses the
first reply token of every row with the template `plain`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from palu.errors import UserError
from palu.models import (
    RenderedPrompt,
    TemplateSettings,
    check_length,
    check_offsets,
    check_tokens,
    end_tokens,
    render_prompt,
)
from palu.roles import COMMON, END, PROMPT, SENSITIVE
from palu.spans import Span, run_offsets, sensitive_tokens
from palu.tokens.pieces import cut
from palu.tokens.row import TokenRow

IntArray = npt.NDArray[np.int64]

# Rows and characters handed to the tokenizer at once: enough to use all its threads, few enough to bound Python's
# lists of offsets
TOKENIZER_ROWS, TOKENIZER_CHARACTERS = 2048, 2**18


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


def encode(
    examples: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerFast,
    template: TemplateSettings,
    max_length: int,
    spans: Mapping[str, Sequence[Span]] | None = None,
) -> list[TokenRow]:
    """The rows of `encode_whole` as a model reads them: a document of over `max_length` tokens is several rows.

    These pieces stand behind one another; `palu.tokens.grouped` tells which belong together. Raises UserError where
    `encode_whole` and `palu.tokens.cut` do.
    """
    whole = encode_whole(examples, tokenizer, template, max_length, spans)
    return [piece for row in whole for piece in cut(row, max_length)]


def encode_whole(
    examples: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerFast,
    template: TemplateSettings,
    max_length: int,
    spans: Mapping[str, Sequence[Span]] | None = None,
) -> Iterator[TokenRow]:
    """Tokenise examples (rows of the examples table), one row each, and mark the tokens that their spans cover.

    A token is sensitive iff its characters, trimmed of white space, intersect a span; sensitive tokens in a row are
    one run, so touching spans are. A token that straddles the prompt's end belongs to the reply. A sequence with a
    prompt is cut off at `max_length` tokens; one without, a document, is left whole, however long. The end of a
    reply to a prompt (`palu.models.end_tokens`) follows where all of it fits. The rows are made as they are asked for.
    spans: example_id -> half-open (start, end) in code points of the reply; none = nothing is sensitive.
    Raises UserError, naming the example, for a span outside its reply, an empty reply, a text with half of a surrogate
    pair, a prompt that leaves the reply no room, and a token that the model has no embedding for; for a tokenizer
    without offsets, and a `max_length` beyond the model's positions.
    """
    check_offsets(tokenizer, "tokenizer")
    check_length(tokenizer, max_length)
    spans = spans or {}
    for chunk in _chunks(examples):
        prompts = [
            render_prompt(template.template, example["prompt"], tokenizer, template.system_prompt, template.date)
            for example in chunk
        ]
        texts = [prompt.text + example["reply"] for prompt, example in zip(prompts, chunk, strict=True)]
        _check_characters(chunk, texts)
        end = end_tokens(template, tokenizer) if any(example["prompt"] for example in chunk) else []
        for example, prompt, tokens in zip(chunk, prompts, _tokenise(texts, prompts, tokenizer), strict=True):
            check_tokens(tokenizer, tokens[0], f"example {example['example_id']!r}")
            own_spans = _checked_spans(example, spans.get(example["example_id"], ()))
            own_end, limit = (end, max_length) if example["prompt"] else ([], sys.maxsize)
            yield _row(example, len(prompt.text), tokens, own_spans, own_end, limit)


def _check_characters(examples: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> None:
    for example, text in zip(examples, texts, strict=True):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(
                f"example {example['example_id']!r}: its text has half of a surrogate pair; allowed: whole characters"
            ) from None


def _chunks(examples: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The examples in order, as many at a time as go to the tokenizer together; a longer text goes alone."""
    start = characters = 0
    for i, example in enumerate(examples):
        length = len(example["prompt"]) + len(example["reply"])
        if i - start == TOKENIZER_ROWS or (i > start and characters + length > TOKENIZER_CHARACTERS):
            yield examples[start:i]
            start, characters = i, 0
        characters += length
    yield examples[start:]


def _tokenise(
    texts: Sequence[str], prompts: Sequence[RenderedPrompt], tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Each text's token ids, character starts and ends, in order, without an end token that the tokenizer adds."""
    adds_end = tokenizer("")["input_ids"][-1:] == [tokenizer.eos_token_id]
    answers: dict[int, tuple[list[int], list[Span]]] = {}
    for add_special_tokens in (True, False):
        members = [i for i, prompt in enumerate(prompts) if prompt.add_special_tokens == add_special_tokens]
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
        answers |= dict(zip(members, zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), strict=True))
    for i, prompt in enumerate(prompts):
        ids, offsets = answers.pop(i)
        flat = np.fromiter(chain.from_iterable(offsets), dtype=np.int64, count=2 * len(offsets))
        kept = len(ids) - (adds_end and prompt.add_special_tokens)
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
    end: Sequence[int],
    max_length: int,
) -> TokenRow:
    name = f"example {example['example_id']!r}"
    input_ids, starts, ends = tokens
    in_reply = ends > prompt_length
    if not example["reply"].strip() or not in_reply.any():
        raise UserError(f"{name}: its reply {example['reply']!r} is empty after tokenization")
    reply_start = int(in_reply.argmax())
    if len(input_ids) == 1:
        raise UserError(
            f"{name}: its reply {example['reply']!r} is one token that none precedes; allowed: a longer text"
        )
    if reply_start >= max_length:
        raise UserError(
            f"{name}: its prompt takes {reply_start} tokens, "
            f"which leaves the reply no room within max_length {max_length}"
        )
    char_start = np.maximum(starts - prompt_length, 0)
    char_end = np.maximum(ends - prompt_length, 0)
    char_start[:reply_start] = char_end[:reply_start] = 0
    char_end = _over_dropped_characters(example["reply"], char_start, char_end)
    truncated = len(input_ids) > max_length
    input_ids, char_start, char_end = input_ids[:max_length], char_start[:max_length], char_end[:max_length]

    role = np.full(len(input_ids), COMMON, dtype=np.int8)
    role[:reply_start] = PROMPT
    uncovered = cut = 0
    if spans:
        sensitive, found = sensitive_tokens(example["reply"], char_start, char_end, spans)
        role[sensitive] = SENSITIVE
        # a tokenizer may report nothing of the white space at a reply's end, though no text is cut
        kept_text_end = int(char_end.max()) if truncated else len(example["reply"])
        cut = sum(start >= kept_text_end for (start, _), is_found in zip(spans, found, strict=True) if not is_found)
        uncovered = int((~found).sum()) - cut
    # a reply whose own text ends with the end, or with the last of its tokens, gets no second one
    longest = min(len(end), len(input_ids) - reply_start)
    own = next((n for n in range(longest, 0, -1) if input_ids[-n:].tolist() == end[-n:]), 0)
    if own:
        role[-own:], char_start[-own:], char_end[-own:] = END, 0, 0
    elif end and len(input_ids) + len(end) <= max_length:
        input_ids, role = np.append(input_ids, end), np.append(role, np.full(len(end), END, dtype=np.int8))
        char_start, char_end = (np.append(column, np.zeros(len(end), np.int64)) for column in (char_start, char_end))
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


def _over_dropped_characters(reply: str, char_start: IntArray, char_end: IntArray) -> IntArray:
    """(T,) ends moved on over the characters, but white space, that the tokenizer reports for no token.

    A tokenizer that composes its text first (NFC) reports of a letter and its accent the letter alone, and one that
    strips accents or zero-width characters reports nothing of them: they belong to the token before.
    """
    begun = np.bincount(char_start, minlength=len(reply) + 1) - np.bincount(char_end, minlength=len(reply) + 1)
    uncovered = np.flatnonzero(begun.cumsum()[:-1] == 0)
    dropped = [i for i in uncovered.tolist() if not reply[i].isspace()]
    if not dropped:
        return char_end
    following = np.arange(len(reply) + 1)
    for i in reversed(dropped):
        following[i] = following[i + 1]
    return np.where(char_start < char_end, following[char_end], char_end)
