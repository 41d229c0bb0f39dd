"""What a trained tagger sees of each word of a reply: features as text, none of which needs pretrained weights.

Of the word itself: its spelling, affixes, shape, place, whether the prompt has it or a form of it, whether the reply
had it before, whether it stands in quotation marks. Of its surroundings: the words beside it, the words around the
run of content words that it belongs to, commas and conjunctions near it. Of the prompt: its words in small letters.

Spelling is the part that does not carry over to other people's facts. A word that the training texts lack is one
`UNKNOWN` word, and training hides some words' spelling so that this one is known to be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache

from palu.tagging.english import COMMON, STOP_WORDS
from palu.tagging.words import Word, is_sentence_end, quotations, runs, stem

UNKNOWN = "?"
_BEFORE, _AFTER = "<", ">"
# Between the words of a phrase and what governs it
# fmt: off
_DETERMINERS = frozenset([
    "a", "an", "the", "his", "her", "their", "its", "my", "our", "your", "'s", "this", "these", "that", "those",
    "some", "any", "various", "several", "many", "most", "more", "other", "such", "each", "every",
])
# fmt: on
_CONJUNCTIONS = frozenset([",", "and", "or", ";", "&"])

Spelling = Callable[[int], str]


class Reply:
    """The words of one prompt and reply, with what does not depend on which words are known.

    kinds: per word, m for punctuation, s for a stop word, n for a number, C for a capital, w for other words; then
    P for a word of the prompt, S for another form of one, - for neither. classes: of common words, which they may be
    of (see english.py); of others, the letter of their kind.
    """

    def __init__(self, prompt: Sequence[Word], reply: Sequence[Word]) -> None:
        self.words = reply
        self.lower = [word.lower for word in reply]
        asked = {word.lower for word in prompt if not word.is_mark}
        stems = {stem(word) for word in asked}
        self.kinds = [_kind(word) + _echo(word, asked, stems) for word in reply]
        self.classes = [COMMON.get(word.lower, kind[0]) for word, kind in zip(reply, self.kinds, strict=True)]
        self.is_content = [kind[0] not in "ms" for kind in self.kinds]
        self.quoted = [False] * len(reply)
        for start, end in quotations(reply):
            self.quoted[start:end] = [not word.is_mark for word in reply[start:end]]
        self.question = sorted({w.lower for w in prompt if not w.is_mark and not w.text[0].isupper()})
        first = next((word.lower for word in prompt if not word.is_mark), "")
        self.question_start = first


@lru_cache(maxsize=1 << 16)
def shape(text: str) -> str:
    """Capitals as X, other letters as x, digits as d, at most two of a kind in a row and eight in all."""
    marks = ""
    for character in text:
        mark = (
            "X" if character.isupper() else "x" if character.isalpha() else "d" if character.isdigit() else character
        )
        if marks[-2:] != mark * 2:
            marks += mark
    return marks[:8]


def _kind(word: Word) -> str:
    if word.is_mark:
        return "m"
    if word.lower in STOP_WORDS:
        return "s"
    return "n" if word.text[0].isdigit() else "C" if word.text[0].isupper() else "w"


def _echo(word: Word, asked: Collection[str], stems: Collection[str]) -> str:
    if word.is_mark:
        return ""
    return "P" if word.lower in asked else "S" if stem(word.lower) in stems else "-"


def features(reply: Reply, spelling: Spelling) -> list[list[str]]:
    """The features of every word. spelling: index of a word -> its lower-case form, or UNKNOWN."""
    count = len(reply.words)
    spelled = [spelling(index) for index in range(count)]
    found: list[list[str]] = []
    seen: set[str] = set()
    starts_sentence = True
    for index in range(count):
        repeated = reply.lower[index] in seen and reply.is_content[index]
        own = _own(reply, index, spelled[index], repeated, starts_sentence)
        found.append([*own, *_neighbours(reply, index, spelled), *_question(reply, index)])
        if reply.words[index].is_mark:
            starts_sentence = starts_sentence or is_sentence_end(reply.words[index])
        else:
            seen.add(reply.lower[index])
            starts_sentence = False
    for start, end in runs(reply.is_content):
        around = _around(reply, start, end, spelled)
        for index in range(start, end):
            found[index] += around
            found[index] += _in_run(reply, index, start, end, spelled)
    return found


def _own(reply: Reply, index: int, spelled: str, repeated: bool, starts_sentence: bool) -> Iterator[str]:
    word, kind = reply.words[index], reply.kinds[index]
    yield "bias"
    yield "w=" + spelled
    yield "k=" + kind
    yield "shape=" + shape(word.text)
    yield f"repeated={repeated}{kind[0]}"
    yield f"quoted={reply.quoted[index]}{kind[0]}{any(reply.quoted)}"
    yield f"starts={starts_sentence}{kind[0]}"
    yield f"from_start={min(index // 4, 6)}{kind[0]}"
    yield f"to_end={min((len(reply.words) - 1 - index) // 4, 4)}{kind[0]}"
    if not word.is_mark:
        for size in (2, 3, 4):
            if len(word.lower) > size:
                yield f"s{size}=" + word.lower[-size:]
        yield "c=" + reply.classes[index].replace("C", "w")
        yield f"ck={reply.classes[index]}{kind}{starts_sentence}"
        yield f"length={min(len(word.lower) // 2, 6)}"
        if spelled != UNKNOWN:
            yield "p3=" + spelled[:3]
            yield "p4=" + spelled[:4]
            yield "stem=" + stem(spelled)


def _neighbours(reply: Reply, index: int, spelled: Sequence[str]) -> Iterator[str]:
    def at(values: Sequence[str], offset: int) -> str:
        place = index + offset
        return _BEFORE if place < 0 else _AFTER if place >= len(values) else values[place]

    def ending(offset: int) -> str:
        kind = at(reply.kinds, offset)
        return kind[0] + at(reply.lower, offset)[-3:] if kind[0] in "nCw" else at(reply.lower, offset)

    kinds, kind, own = reply.kinds, reply.kinds[index], ending(0)
    for offset in (-2, -1, 1, 2):
        yield f"w{offset}=" + at(spelled, offset)
        yield f"k{offset}=" + at(kinds, offset)
    before, at_word, after = (at(reply.classes, offset) for offset in (-1, 0, 1))
    yield f"c-1={before}"
    yield f"c1={after}"
    yield f"c-10={before}|{at_word}"
    yield f"c01={at_word}|{after}"
    yield f"c-101={before}|{at_word}|{after}"
    for offset in (-1, 1):
        yield f"e{offset}=" + ending(offset)
        yield f"ee{offset}={own}|{ending(offset)}"
        yield f"kk{offset}={kind}{at(kinds, offset)}"
        yield f"kw{offset}={kind}{at(spelled, offset)}"
    yield f"k-101={at(kinds, -1)}{kind}{at(kinds, 1)}"
    yield f"k012={kind}{at(kinds, 1)}{at(kinds, 2)}"
    yield f"k-2-10={at(kinds, -2)}{at(kinds, -1)}{kind}"
    yield f"w-2-1={at(spelled, -2)}_{at(spelled, -1)}"


def _question(reply: Reply, index: int) -> Iterator[str]:
    if reply.is_content[index]:
        yield f"q={reply.question_start}{reply.kinds[index]}"
        for word in reply.question:
            yield "qb=" + word


def _governor(reply: Reply, start: int, spelled: Sequence[str]) -> tuple[int, str]:
    """Where the word before a run's determiners stands (-1: nowhere), and its spelling."""
    governor = start - 1
    while governor >= 0 and reply.lower[governor] in _DETERMINERS:
        governor -= 1
    return governor, spelled[governor] if governor >= 0 else _BEFORE


def _around(reply: Reply, start: int, end: int, spelled: Sequence[str]) -> list[str]:
    """Of a run of content words: what governs it, beyond its determiners, and what follows."""
    governor, before = _governor(reply, start, spelled)
    before_that = spelled[governor - 1] if governor > 0 else _BEFORE
    determiner = reply.lower[start - 1] if start - 1 > governor else ""
    after = spelled[end] if end < len(spelled) else _AFTER
    after_that = spelled[end + 1] if end + 1 < len(spelled) else _AFTER
    return [
        "g=" + before,
        f"gg={before_that}_{before}",
        f"gd={before}_{determiner}",
        "a=" + after,
        f"aa={after}_{after_that}",
        f"ga={before}_{after}",
    ]


def _in_run(reply: Reply, index: int, start: int, end: int, spelled: Sequence[str]) -> Iterator[str]:
    kind = reply.kinds[index]
    governor, before = _governor(reply, start, spelled)
    yield f"gk={before}{kind}{min(end - start, 3)}"
    yield f"dk={reply.lower[start - 1] if start - 1 > governor else ''}{kind}"
    yield f"ak={spelled[end] if end < len(spelled) else _AFTER}{kind}"
    yield f"run={min(end - start, 4)}_{min(index - start, 3)}"
    left = [reply.lower[place] in _CONJUNCTIONS for place in range(max(0, index - 6), index)]
    right = [reply.lower[place] in _CONJUNCTIONS for place in range(index + 1, min(len(spelled), index + 6))]
    yield f"list={min(sum(left) + sum(right), 4)}{kind}"
    yield f"list_sides={min(sum(left[-5:]), 3)}_{min(sum(right[:4]), 3)}"
