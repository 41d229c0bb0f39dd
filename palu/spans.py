"""Which tokens are sensitive: the one rule that training, evaluation and report share.

A token is sensitive iff its characters, trimmed of white space, intersect a span. Sensitive tokens in a row are one
run, so touching spans are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Span = tuple[int, int]
Integers = npt.NDArray[np.integer[Any]] | Sequence[int]
Mask = npt.NDArray[np.bool_]


def sensitive_tokens(reply: str, char_start: Integers, char_end: Integers, spans: Sequence[Span]) -> tuple[Mask, Mask]:
    """(T,) which tokens are sensitive; (S,) which spans have such a token.

    char_start, char_end: (T,) each token's characters, half-open, in code points of the reply; 0, 0 for a token
    without any. spans: S half-open pairs in code points of the reply.
    """
    solid = np.array([not character.isspace() for character in reply], dtype=bool)
    index = np.arange(len(reply))
    # next_solid[i]: first non-space at or after i; last_solid_end[i]: end of the last non-space before i
    next_solid = np.append(np.minimum.accumulate(np.where(solid, index, len(reply))[::-1])[::-1], len(reply))
    last_solid_end = np.append(0, np.maximum.accumulate(np.where(solid, index + 1, 0)))
    first, last = next_solid[np.asarray(char_start)], last_solid_end[np.asarray(char_end)]
    real = first < last
    starts, ends = np.array(spans, dtype=np.int64).reshape(-1, 2).clip(0, len(reply)).T
    in_span, in_token = (_covered_before(*edges, len(reply)) for edges in ((starts, ends), (first[real], last[real])))
    return real & (in_span[last] > in_span[first]), in_token[ends] > in_token[starts]


def _covered_before(starts: Integers, ends: Integers, length: int) -> npt.NDArray[np.int64]:
    """(length + 1,): how many of the characters before each place lie in one of these stretches."""
    depth = np.bincount(starts, minlength=length + 1) - np.bincount(ends, minlength=length + 1)
    return np.append(0, (depth.cumsum()[:-1] > 0).cumsum())


def run_offsets(inside: Mask) -> npt.NDArray[np.int16]:
    """(T,) bool -> (T,) int16: 0, 1, 2... along every run of True, no higher than 32767; -1 elsewhere."""
    index = np.arange(len(inside))
    last_outside = np.maximum.accumulate(np.where(inside, -1, index))
    offsets = np.where(inside, index - last_outside - 1, -1)
    return np.minimum(offsets, np.iinfo(np.int16).max).astype(np.int16)


def first_of_runs(offsets: npt.NDArray[np.int16], first_n: int | None) -> Mask:
    """(T,) whether a token is initiating: among the first N of its run; None: anywhere in it."""
    inside = offsets >= 0
    return inside if first_n is None else inside & (offsets < first_n)
