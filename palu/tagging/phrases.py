"""Words of a reply put together: symbols of several characters, echoes of the prompt, words in a row."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from palu.tagging.words import Word, plain, words

_ZERO_WIDTH_JOINER = "\u200d"


def units(reply: str) -> list[Word]:
    """The words and marks of a reply, symbols made of several characters (flags, joined emoji) put together."""
    found: list[Word] = []
    for word in words(reply):
        if found and found[-1].is_mark and word.is_mark and found[-1].end == word.start and _extends(found[-1], word):
            start = found.pop().start
            text = reply[start : word.end]
            word = Word(text, start, word.end, True, plain(text))
        found.append(word)
    return found


def _extends(before: Word, word: Word) -> bool:
    is_tone = "\U0001f3fb" <= word.text[0] <= "\U0001f3ff"
    is_flag = len(before.text) == 1 and all("\U0001f1e6" <= part.text[0] <= "\U0001f1ff" for part in (before, word))
    # the characters of a flag's region are of the category Cf
    return before.text[-1] == _ZERO_WIDTH_JOINER or is_tone or is_flag or "\U000e0020" <= word.text[0] <= "\U000e007f"


def echoes(found: Sequence[Word], prompt: str) -> npt.NDArray[np.bool_]:
    """(W,): whether the prompt has each word. Where no space parts words: whether it has it beside a neighbour."""
    asked = words(prompt)
    known = {word.lower for word in asked}
    pairs = {(a.lower, b.lower) for a, b in itertools.pairwise(asked)}
    result = np.array([word.lower in known for word in found], dtype=bool)
    touching = [_is_unspaced(a, b) for a, b in itertools.pairwise(found)]
    same = [(a.lower, b.lower) in pairs for a, b in itertools.pairwise(found)]
    for i in range(len(found)):
        beside = [j for j in (i - 1, i) if 0 <= j < len(touching) and touching[j]]
        if beside:
            result[i] &= any(same[j] for j in beside)
    return result


def _is_unspaced(word: Word, follower: Word) -> bool:
    is_possessive = follower.lower.startswith("'")
    return word.end == follower.start and not (word.is_mark or follower.is_mark or is_possessive)


def is_candidate(word: Word) -> bool:
    """Whether a word or mark can tell something: words do, and symbols such as emoji; punctuation does not."""
    return not word.is_mark or unicodedata.category(word.text[0])[0] == "S"


def phrases(found: Sequence[Word], marked: npt.NDArray[np.bool_], bridge: int) -> Iterator[tuple[int, int]]:
    """First and last word of each run of marked words, over at most `bridge` others and no punctuation."""
    first = last = -1
    for i in np.flatnonzero(marked).tolist():
        between = found[last + 1 : i]
        if first >= 0 and len(between) <= bridge and not any(word.is_mark for word in between):
            last = i
            continue
        if first >= 0:
            yield first, last
        first = last = i
    if first >= 0:
        yield first, last
