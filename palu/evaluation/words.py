"""The words of a text, for what is counted or compared in words: case and punctuation aside."""

import re
import unicodedata

# Scripts that put no space between words: each of their characters is a word
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Such a character, or a run of other letters and digits with their accents, where those are characters of their own
WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}](?:[^\W_{_UNSPACED}]|[\u0300-\u036f])*")


def folded(word: str) -> str:
    """A word in the form that its spellings share: compatibility characters composed, without case."""
    return unicodedata.normalize("NFKC", word).casefold()


def words_of(text: str) -> list[str]:
    """The words of a text, folded."""
    return [folded(word) for word in WORD.findall(text)]


def contains(text: list[str], part: list[str]) -> bool:
    """Whether the words `part` occur in `text` one after the other."""
    return f" {' '.join(part)} " in f" {' '.join(text)} "
