"""From a number per reply token, as a model gives it, to spans of whole words; for taggers without an annotator.

A word's score is the largest of its tokens', 0 where that is negative. Sensitive is a word that scores above a
threshold and that the prompt lacks. The threshold comes from the scores alone, by one of three rules:

    otsu   splits log(1 + s / median of the scores above 0) where the variance between the two halves,
           w0 w1 (m1 - m0)^2 with their shares w and means m, is largest (Otsu 1979, equation 14)
    share  the words with the highest scores, as many as make up a stated share
    nats   a stated score

Scores of models spread over decades, whence the logarithm; dividing by the median makes the split the same in any
unit. Words are those of `palu.tagging.words`, in any script; a symbol, such as an emoji with all its parts, is one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from palu.errors import UserError
from palu.settings import Count, Number, PositiveNumber
from palu.tagging.base import TaggerSettings
from palu.tagging.phrases import echoes, is_candidate, phrases, units

if TYPE_CHECKING:
    import pyarrow as pa

    from palu.tagging.base import Resources
    from palu.tagging.words import Word
    from palu.tokens import TokenRow

Scores = npt.NDArray[np.float64]

# What a row of a states table must share with another to be of the same tokens
_SAME_TOKENS = ("tokenizer", "template", "max_length", "examples")


class ScoreSettings(TaggerSettings):
    """threshold: the rule that sets it. share: of the words that the prompt lacks, for the rule `share`. nats: for
    the rule `nats`. bridge: how many words in a row may stand between two sensitive ones and be sensitive for it.
    prompt_words: whether words of the prompt count too; whoever asks knows them already."""

    needs: ClassVar[frozenset[str]] = frozenset({"model", "states"})

    threshold: Literal["otsu", "share", "nats"] = "otsu"
    share: Annotated[Number, Field(gt=0, lt=1)] = 0.4
    nats: PositiveNumber = 1.0
    bridge: Count = 1
    prompt_words: bool = False


def encoded(
    examples: Sequence[Mapping[str, Any]], resources: Resources, name: str, other: bool = False
) -> list[TokenRow]:
    """The replies as the tokens that the states tables are of, a document in one row however it was cut for the model.

    other: whether the other model's table is needed too.

    Raises UserError where a file is not given, for states that another model or other examples made, for tables that
    disagree on the tokens, and where the other model is the original itself.
    """
    from palu import models, tables, tokens

    paths = {"the model": resources.model_path, "its states": resources.states_path}
    if other:
        paths["the other model's log-probabilities"] = resources.other_states_path
    for what, path in paths.items():
        if path is None:
            raise UserError(f"{name}: reads {what}, but no file of it is given")
    assert resources.model_path is not None
    assert resources.states_path is not None
    own = {
        "model": models.fingerprint(resources.model_path),
        "tokenizer": models.tokenizer_fingerprint(resources.model_path),
    }
    if resources.examples_digest:
        own["examples"] = resources.examples_digest
    facts = tables.check(resources.states_path, "states", own)
    if other:
        assert resources.other_states_path is not None
        same = {key: facts[key] for key in _SAME_TOKENS}
        if tables.check(resources.other_states_path, "states", same)["model"] == facts["model"]:
            raise UserError(f"{resources.other_states_path}: made by the original itself; allowed: another model")
    template = models.TemplateSettings.parse(json.loads(facts["template"]), str(resources.states_path))
    tokenizer = models.load_tokenizer(resources.model_path)
    return list(tokens.encode_whole(examples, tokenizer, template, int(facts["max_length"])))


def read_scores(path: Path, rows: Sequence[TokenRow], value: Callable[[pa.RecordBatch], Scores]) -> list[Scores]:
    """(T,) numbers of each row's tokens, NaN for those that nothing predicts or that are no reply's.

    value: a batch of n rows of the states table -> (n,) numbers. The table is read in batches.
    Raises UserError, naming example and position, for a token without a row in the table, and one made for another.
    """
    from palu import tables

    place = {row.example_id: i for i, row in enumerate(rows)}
    found = [np.full(len(row), np.nan) for row in rows]
    for batch in tables.iterate(path, "states"):
        names = batch.column("example_id").dictionary_encode()
        codes = names.indices.to_numpy()
        held = {code: place[name] for code, name in enumerate(names.dictionary.to_pylist()) if name in place}
        values = value(batch) if held else np.empty(0)
        for code, i in held.items():
            members = np.flatnonzero(codes == code)
            target = batch.column("position").to_numpy()[members] + 1
            stored = batch.column("token_id").to_numpy()[members]
            row = rows[i]
            if target.max() >= len(row) or not np.array_equal(row.input_ids[target], stored):
                raise UserError(f"{path}: example {row.example_id!r} has other tokens now: make it anew")
            found[i][target] = values[members]
    for row, numbers in zip(rows, found, strict=True):
        missing = np.flatnonzero(np.isnan(numbers[row.first_target :]))
        if len(missing):
            position = row.first_target + missing[0] - 1
            raise UserError(f"{path}: no row for example {row.example_id!r}, position {position}: make it anew")
    return found


def spans_of_scores(
    examples: Sequence[Mapping[str, Any]],
    rows: Sequence[TokenRow],
    scores: Sequence[Scores],
    settings: ScoreSettings,
    name: str,
) -> Iterator[dict[str, Any]]:
    """The spans of words above the threshold, which is printed. scores: (T,) of each row. name: the tagger's."""
    numbers, counts = [], []
    for example, row, own in zip(examples, rows, scores, strict=True):
        # the words of all replies would take more memory than the replies: they are cut again below
        found = units(example["reply"])
        is_counted = np.array([is_candidate(word) for word in found], dtype=bool)
        numbers.append(word_scores(found, row, own))
        counts.append(is_counted & (settings.prompt_words | ~echoes(found, example["prompt"])))
    pooled = np.concatenate([own[counted] for own, counted in zip(numbers, counts, strict=True)])
    limit = threshold(pooled, settings)
    share = (pooled > limit).mean() if len(pooled) else 0.0
    print(f"{name}: threshold {limit:.3g} nats ({settings.threshold}); above it {share:.1%} of {len(pooled)} words")
    for example, own, counted in zip(examples, numbers, counts, strict=True):
        marked = counted & (own > limit)
        found = units(example["reply"]) if marked.any() else []
        for first, last in phrases(found, marked, settings.bridge):
            yield {
                "example_id": example["example_id"],
                "char_start": found[first].start,
                "char_end": found[last].end,
                "label": name,
                "score": float(own[first : last + 1].max()),
            }


def threshold(scores: Scores, settings: ScoreSettings) -> float:
    """The score above which a word is sensitive; infinity where the rule finds no two kinds of words."""
    if settings.threshold == "nats":
        return settings.nats
    if len(scores) == 0:
        return np.inf
    if settings.threshold == "share":
        return float(np.quantile(scores, 1 - settings.share))
    if not (scores > 0).any():
        return np.inf
    unit = np.median(scores[scores > 0])
    return float(np.expm1(otsu(np.log1p(scores / unit))) * unit)


def otsu(values: Scores) -> float:
    """The middle of the gap that splits `values` with the largest variance between; infinity for equal values."""
    ordered = np.sort(values)
    if len(ordered) < 2 or ordered[0] == ordered[-1]:
        return np.inf
    low = np.arange(1, len(ordered))
    sums = ordered.cumsum()
    means = sums[:-1] / low, (sums[-1] - sums[:-1]) / (len(ordered) - low)
    between = low * (len(ordered) - low) * (means[1] - means[0]) ** 2
    between[ordered[:-1] == ordered[1:]] = -1  # equal values stay together
    split = int(between.argmax())
    return float((ordered[split] + ordered[split + 1]) / 2)


def word_scores(found: Sequence[Word], row: TokenRow, scores: Scores) -> Scores:
    """(W,): the largest score of the tokens that share a character with each word, at least 0."""
    best = np.zeros(len(found))
    starts = np.array([word.start for word in found], dtype=np.int64)
    ends = np.array([word.end for word in found], dtype=np.int64)
    telling = (row.char_start < row.char_end) & (scores > 0)
    # words lie in order and apart, so those that a token meets are neighbours
    word = np.searchsorted(ends, row.char_start[telling], "right")
    stop = np.searchsorted(starts, row.char_end[telling], "left")
    score = scores[telling]
    while (met := word < stop).any():
        word, stop, score = word[met], stop[met], score[met]
        np.maximum.at(best, word, score)
        word = word + 1
    return best
