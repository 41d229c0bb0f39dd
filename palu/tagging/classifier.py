"""Spans from a token classifier of the Hugging Face hub, or of a local folder: named entities, personal data.

`aggregation` makes labels of tokens into labels of words, with the strategies and names of the library's pipeline
(transformers, `TokenClassificationPipeline`): `first` takes a word's first token, `max` the token that is surest,
`average` the mean of the probabilities; `simple` takes tokens as they are. Words in a row with one label are one
span, unless a label opens another. The library's own words are not used: it knows them from the marks of a
WordPiece vocabulary or from blanks, so that to other tokenizers a sentence in Chinese is one word, and so are a word
and the full stop behind it. Ours are those of `palu.tagging.words`. A long reply is read in windows that overlap; a
token's label comes from the window that shows most around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from palu.errors import UserError
from palu.settings import unknown
from palu.tagging.encoders import Encoder, EncoderSettings, Window, innermost, tokens_within
from palu.tagging.phrases import units

if TYPE_CHECKING:
    from palu.tagging.base import Resources

Probabilities = npt.NDArray[np.float64]

OUTSIDE = "O"
# Prefixes of the schemes IOB, BILOU and BIOES: first, last and only word of an entity, besides I
_OPENS, _CLOSES = frozenset("BSU"), frozenset("ESLU")
_PREFIXES = _OPENS | _CLOSES | frozenset("IM")


class Settings(EncoderSettings):
    """labels: those that count, without a prefix such as B-; none = all but O. aggregation: how tokens become words.
    The others are those of `EncoderSettings`."""

    labels: list[str] | None = Field(default=None, min_length=1)
    aggregation: Literal["simple", "first", "average", "max"] = "first"


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """The spans that the classifier finds in the replies of `examples`; a score is the mean over its words.

    Raises UserError for a label that the checkpoint lacks, for one without O where none is named, and what
    `Encoder` raises.
    """
    encoder = Encoder("token classifier", settings, "classifier")
    names = [str(encoder.model.config.id2label[i]) for i in range(encoder.model.config.num_labels)]
    chosen = _chosen_labels(names, settings)
    for some in _batches(examples, encoder, 16 * settings.batch_size):
        logits = encoder.logits([window for _, own in some for window in own])
        for example, own in some:
            of_window = [next(logits) for _ in own]
            places = innermost(own)
            offsets = np.array([(own[w].char_start[i], own[w].char_end[i]) for w, i in places])
            probabilities = _softmax(np.array([of_window[w][i] for w, i in places], dtype=np.float64))
            pieces = _pieces(example["reply"], offsets, probabilities, settings.aggregation)
            for char_start, char_end, label, score in _entities(pieces, names):
                if label in chosen:
                    yield {
                        "example_id": example["example_id"],
                        "char_start": char_start,
                        "char_end": char_end,
                        "label": label,
                        "score": score,
                    }


def _batches(
    examples: Sequence[Mapping[str, Any]], encoder: Encoder, count: int
) -> Iterator[list[tuple[Mapping[str, Any], list[Window]]]]:
    """Examples with their windows, those of white space left out, about `count` windows in memory at a time."""
    batch: list[tuple[Mapping[str, Any], list[Window]]] = []
    for example in examples:
        if own := encoder.windows(example["prompt"], example["reply"]):
            batch.append((example, own))
        if sum(len(windows) for _, windows in batch) >= count:
            yield batch
            batch = []
    if batch:
        yield batch


def _chosen_labels(names: Sequence[str], settings: Settings) -> frozenset[str]:
    known = {_bare(name)[1] for name in names}
    for label in settings.labels or ():
        if label not in known - {OUTSIDE}:
            raise unknown("label", label, f"classifier: {settings.checkpoint}", known - {OUTSIDE})
    if settings.labels is None and OUTSIDE not in known:
        raise UserError(
            f"classifier: {settings.checkpoint}: no label of it is {OUTSIDE!r}, so labels must name those that are "
            f"sensitive; allowed: {', '.join(sorted(known))}"
        )
    return frozenset(settings.labels or known - {OUTSIDE})


def _bare(name: str) -> tuple[str, str]:
    """Prefix and label: B-PER -> B, PER; a label without a prefix goes on as one of I does."""
    prefix, dash, label = name.partition("-")
    return (prefix, label) if dash and label and prefix in _PREFIXES else ("I", name)


def _softmax(logits: Probabilities) -> Probabilities:
    """(T, C) -> (T, C)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: Probabilities = powers / powers.sum(axis=-1, keepdims=True)
    return found


def _pieces(
    reply: str, offsets: npt.NDArray[np.int64], probabilities: Probabilities, aggregation: str
) -> Iterator[tuple[int, int, int, float]]:
    """(char_start, char_end, label number, its probability) of each token or word of the reply, in order.

    offsets: (T, 2). Tokens without a character, such as the mark of a space, are no piece; nor are words without a
    token. A token that reaches over several words, as in Chinese, speaks for each.
    """
    trimmed = [(token, *_trimmed(reply, int(start), int(end))) for token, (start, end) in enumerate(offsets)]
    solid = [(token, start, end) for token, start, end in trimmed if start < end]
    if aggregation == "simple":
        for token, start, end in solid:
            best = int(probabilities[token].argmax())
            yield start, end, best, float(probabilities[token, best])
        return
    starts = np.array([start for _, start, _ in solid])
    ends = np.array([end for _, _, end in solid])
    tokens = np.array([token for token, _, _ in solid])
    for word in units(reply):
        own = probabilities[tokens[tokens_within(starts, ends, word.start, word.end)]]
        if len(own) == 0:
            continue
        if aggregation == "average":
            row = own.mean(axis=0)
        else:
            row = own[own.max(axis=1).argmax() if aggregation == "max" else 0]
        yield word.start, word.end, int(row.argmax()), float(row.max())


def _trimmed(reply: str, start: int, end: int) -> tuple[int, int]:
    text = reply[start:end]
    return start + len(text) - len(text.lstrip()), start + len(text.rstrip())


def _entities(
    pieces: Iterator[tuple[int, int, int, float]], names: Sequence[str]
) -> Iterator[tuple[int, int, str, float]]:
    """Pieces in a row with one label as one span: (char_start, char_end, label, mean probability)."""
    start, end, held, scores = 0, 0, OUTSIDE, [0.0]
    is_closed = True
    for char_start, char_end, number, score in pieces:
        prefix, label = _bare(names[number])
        if label == held and not is_closed and prefix not in _OPENS:
            end = max(end, char_end)
            scores.append(score)
        else:
            if held != OUTSIDE:
                yield start, end, held, float(np.mean(scores))
            start, end, held, scores = char_start, char_end, label, [score]
        is_closed = prefix in _CLOSES
    if held != OUTSIDE:
        yield start, end, held, float(np.mean(scores))
