"""Words of a text, with their characters: what the taggers without a trained pipeline count in.

A word is a run of letters, marks and digits, with the hyphens and apostrophes inside it; a number keeps the points,
commas, colons and strokes of its own ("1,200", "19:30", "05/11/1991"). Scripts that put no space between words (Han,
Kana, Thai, Lao, Khmer, Burmese) give one word per character with its marks. An English possessive is a word of its
own. Every other character that is no white space is punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from palu.errors import UserError
from palu.tagging.english import STOP_WORDS as ENGLISH_STOP_WORDS

# fmt: off
# Scripts without spaces between words: first and last letter of their blocks
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x3134F),
)
# fmt: on
_JOINERS = {0x200C, 0x200D}
_SENTENCE_ENDS = frozenset(".!?।。！？")
_DOUBLE_QUOTES, _SINGLE_QUOTES = frozenset('"“”„«»「」『』'), frozenset("'‘’‚‹›")
_HYPHENS, _APOSTROPHES = "-\u2010\u2011", "'\u2019\u02bc"

# Over the classes of the characters (see `_Classes`): a letter or digit with its marks, then a whole word
_LETTER = "[a0]m*"
_INSIDE = r"[-'&]|(?<=0)[.,:/](?=0)|(?<![a0m][a0m])\.(?=a(?![a0m]))"
_WORD = re.compile(rf"(?P<word>{_LETTER}(?:(?:{_INSIDE})?{_LETTER})*\+*)|(?P<character>cm*)|(?P<mark>[^ ]m*)")


class Word(NamedTuple):
    """text: its characters. start, end: half-open, in code points. is_mark: punctuation. lower: without case, in
    normal form, with straight apostrophes: what two spellings of a word share."""

    text: str
    start: int
    end: int
    is_mark: bool
    lower: str


class _Classes(dict[int, str]):
    """Code point -> its class: a letter, 0 digit, m mark, c letter of an unspaced script, space, or punctuation."""

    def __missing__(self, code: int) -> str:
        found = self[code] = _class(code)
        return found


_CLASSES = _Classes()


def _class(code: int) -> str:
    character = chr(code)
    category = unicodedata.category(character)
    if category[0] == "M" or code in _JOINERS:
        return "m"
    if category == "Nd":
        return "0"
    if category[0] in "LN":
        return "c" if any(first <= code <= last for first, last in _UNSPACED) else "a"
    if character.isspace():
        return " "
    if character in _HYPHENS:
        return "-"
    if character in _APOSTROPHES:
        return "'"
    return character if character in "&.,:/+" else "!"


def words(text: str) -> list[Word]:
    """The words and punctuation marks of `text`, in order."""
    found = []
    for match in _WORD.finditer(text.translate(_CLASSES)):
        start, end = match.span()
        whole, is_mark = text[start:end], match.lastgroup == "mark"
        if not is_mark and end - start > 2 and whole[-1] in "sS" and whole[-2] in _APOSTROPHES:
            found.append(Word(whole[:-2], start, end - 2, False, plain(whole[:-2])))
            start, whole = end - 2, whole[-2:]
        found.append(Word(whole, start, end, is_mark, plain(whole)))
    return found


@lru_cache(maxsize=1 << 16)
def plain(text: str) -> str:
    """`text` as its other spellings have it: without case, in normal form, with straight apostrophes."""
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").replace("\u02bc", "'")


def stop_words(language: str | None, place: str) -> frozenset[str]:
    """The function words of a language, by its code; None: no words. English ones are ours, others are spaCy's.

    Raises UserError naming `place` for a language of which spaCy has none.
    """
    if language is None:
        return frozenset()
    if language == "en":
        return ENGLISH_STOP_WORDS
    from spacy.util import get_lang_class

    try:
        known: Collection[str] = get_lang_class(language).Defaults.stop_words
    except ImportError:
        known = ()
    if not known:
        raise UserError(
            f"{place}: no stop words of language {language!r}; allowed: null, or a code such as en, de, fr"
        )
    return frozenset(plain(word) for word in known)


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """An English word without its commonest endings: enough to see that two words are forms of one."""
    for ending in ("ings", "ing", "ied", "ies", "ed", "es", "s", "ly", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def is_sentence_end(word: Word) -> bool:
    """Whether a mark ends a sentence."""
    return word.text in _SENTENCE_ENDS


def quotations(found: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """(start, end), half-open, of the words between two quotation marks, without these; none lies in another.

    A single mark opens before a word that it touches and no word that it touches precedes: others are apostrophes.
    """
    opened, closing = 0, frozenset[str]()
    for index, word in enumerate(found):
        if word.text in closing:
            if index > opened:
                yield opened, index
            closing = frozenset()
        elif not closing and word.text in _DOUBLE_QUOTES:
            opened, closing = index + 1, _DOUBLE_QUOTES
        elif not closing and word.text in _SINGLE_QUOTES:
            touches_next = index + 1 < len(found) and found[index + 1].start == word.end
            touches_last = index > 0 and found[index - 1].end == word.start and not found[index - 1].is_mark
            if touches_next and not touches_last:
                opened, closing = index + 1, _SINGLE_QUOTES


def runs(chosen: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """(start, end), half-open, of every run of chosen words."""
    start = None
    for index, is_chosen in enumerate([*chosen, False]):
        if is_chosen and start is None:
            start = index
        elif not is_chosen and start is not None:
            yield start, index
            start = None
