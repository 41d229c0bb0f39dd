"""Spans of words that a masked language model would not have guessed, as TPO finds its unwanted words.

Every word is masked whole, one at a time, and is sensitive where the model gives it little probability:

    (prod_i p(t_i | the text with t_1 ... t_n masked))^(1/n) < probability,   t_1 ... t_n the word's tokens

Source: Zhou et al. 2025 (2506.03142), where BERT is the free alternative to annotation by GPT-4. Words are those of
`palu.tagging.words`, which the authors' are not; sensitive words with nothing between them are one span. It costs a
forward pass of a window for every word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from palu.errors import UserError
from palu.settings import Number
from palu.tagging.encoders import Encoder, EncoderSettings, Integers, Window, innermost, tokens_within
from palu.tagging.phrases import is_candidate, phrases, units

if TYPE_CHECKING:
    from palu.tagging.base import Resources
    from palu.tagging.words import Word


class Settings(EncoderSettings):
    """probability: below it, a word is sensitive. The others are those of `EncoderSettings`."""

    probability: Annotated[Number, Field(gt=0, le=1)] = 0.1


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """The words that the masked model finds improbable; a score is 1 - the probability of the least probable.

    Raises UserError for a tokenizer without a mask, and what `Encoder` raises.
    """
    encoder = Encoder("masked language model", settings, "fill_mask")
    if encoder.tokenizer.mask_token_id is None:
        raise UserError(f"fill_mask: {settings.checkpoint}: the tokenizer has no mask token; allowed: one with a mask")
    for example in examples:
        found = units(example["reply"])
        probability = np.array(_probabilities(encoder, example, found, 16 * settings.batch_size))
        marked = probability < settings.probability
        for first, last in phrases(found, marked, bridge=0):
            yield {
                "example_id": example["example_id"],
                "char_start": found[first].start,
                "char_end": found[last].end,
                "label": "fill_mask",
                "score": float(1 - probability[first : last + 1].min()),
            }


def _probabilities(encoder: Encoder, example: Mapping[str, Any], found: Sequence[Word], at_once: int) -> list[float]:
    """(W,) of each word; 1 for punctuation, and for what the tokenizer leaves out.

    at_once: words whose logits are in memory together.
    """
    result = [1.0] * len(found)
    asked = _asked(encoder, example, found)
    while some := list(islice(asked, at_once)):
        logits = encoder.logits([window for _, window, _, _ in some], [places for _, _, places, _ in some])
        for (number, _, places, true_ids), z in zip(some, logits, strict=True):
            log_normalizer = z.max(axis=1) + np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1))
            log_prob = z[np.arange(len(places)), true_ids] - log_normalizer
            result[number] = float(np.exp(log_prob.mean()))
    return result


def _asked(
    encoder: Encoder, example: Mapping[str, Any], found: Sequence[Word]
) -> Iterator[tuple[int, Window, Integers, Integers]]:
    """Of each word that is asked: its number, its window with the word masked, the masked places, what stood there."""
    windows = encoder.windows(example["prompt"], example["reply"])
    if not windows:
        return
    best = innermost(windows)
    char_start = np.array([windows[w].char_start[i] for w, i in best])
    char_end = np.array([windows[w].char_end[i] for w, i in best])
    for number, word in enumerate(found):
        own = np.arange(len(best))[tokens_within(char_start, char_end, word.start, word.end)]
        if len(own) == 0 or not is_candidate(word):
            continue
        window = windows[best[own[len(own) // 2]][0]]
        inside = own[(own >= window.first) & (own < window.first + len(window))]
        places = window.place[inside - window.first]
        ids = window.input_ids.copy()
        ids[places] = encoder.tokenizer.mask_token_id
        yield number, replace(window, input_ids=ids), places, window.input_ids[places]
