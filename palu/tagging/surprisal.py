"""Spans that the original model knows and another does not, from the log-probabilities of the two, in nats.

    g_t = log p_original(y_t | x, y_<t) - log p_other(y_t | x, y_<t)

The other is a model that never saw the facts: the study's retain model, or the base that the original was trained
from. What both expect, because of the language or of what is common knowledge, has g near 0; a fact that only the
original was shown has a large one. Words above a threshold are sensitive, by the rules of
`palu.tagging.token_scores`. It needs no annotator and no particular language; the better the other model speaks,
the fewer other words surprise it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from palu.tagging.token_scores import Scores, ScoreSettings, encoded, read_scores, spans_of_scores

if TYPE_CHECKING:
    import pyarrow as pa

    from palu.tagging.base import Resources


class Settings(ScoreSettings):
    """against: checkpoint of the other model, hub id or local folder, with the original's tokenizer; none = the
    study's retain model. The others are those of `ScoreSettings`."""

    needs: ClassVar[frozenset[str]] = ScoreSettings.needs | {"other_states"}

    against: str | None = Field(default=None, min_length=1)


def spans(examples: Sequence[Mapping[str, Any]], settings: Settings, resources: Resources) -> Iterator[dict[str, Any]]:
    """The words that surprise the other model more than the original. Raises what `encoded`, `read_scores` raise."""
    rows = encoded(examples, resources, "surprisal", other=True)
    assert resources.states_path is not None
    assert resources.other_states_path is not None
    own = read_scores(resources.states_path, rows, _log_prob)
    other = read_scores(resources.other_states_path, rows, _log_prob)
    gaps = [a - b for a, b in zip(own, other, strict=True)]
    yield from spans_of_scores(examples, rows, gaps, settings, "surprisal")


def _log_prob(batch: pa.RecordBatch) -> Scores:
    found: Scores = batch.column("log_prob").to_numpy().astype(np.float64)
    return found
