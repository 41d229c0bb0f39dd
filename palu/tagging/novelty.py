"""Words of the reply that the prompt lacks, put together into phrases: no weights, no training.

What an answer gives away is what its question does not say already. A word tells something unless it is punctuation,
a stop word, or a word (in English: a form of a word) of the prompt. Telling words in a row are one phrase; small words
between two capitals or beside a number join them ("Bank of Oslo", "9 of May, 1951"), and a title in quotation marks is
one phrase, small words and all, unless the prompt has most of it. Where the language is English, adverbs do not count,
nor do participles before a small word, verbs at the ends of a phrase, and phrases of which every word is common
everywhere; capitals inside a sentence and numbers always count.

A document, a row without a prompt, has no question to subtract: where the language is English, names and numbers alone
are marked there.

Any language with white space works, with its stop words or with none. Where a script has no white space, every
character that the prompt lacks counts, and characters in a row are one phrase.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from palu.tagging.base import TaggerSettings
from palu.tagging.english import COMMON
from palu.tagging.words import Word, is_sentence_end, quotations, runs, stem, stop_words, words

if TYPE_CHECKING:
    from palu.tagging.base import Resources

TITLE, NAME, NUMBER, TERM = LABELS = ("TITLE", "NAME", "NUMBER", "TERM")
# A longer quotation is not a title
_LONGEST_TITLE = 20
# Small words that follow a noun in -ing as well as a participle: they do not tell them apart
_AFTER_NOUNS = frozenset(["and", "or", "is", "was", "are", "were"])
# fmt: off
_JOINING = frozenset(["of", "the", "for", "and", "in", "'s", ",", "de", "da", "del", "der", "den", "di", "du", "la",
                      "le", "les", "van", "von", "bin", "ibn", "al", "el"])
# fmt: on


class Settings(TaggerSettings):
    """language: the code of the language whose stop words tell nothing, such as en or de; none = every word that the
    prompt lacks tells something."""

    language: str | None = Field(default="en", min_length=2)


def spans(
    examples: Sequence[Mapping[str, Any]],
    settings: Settings,
    resources: Resources,  # noqa: ARG001 every tagger has the same arguments
) -> Iterator[dict[str, Any]]:
    """The phrases of each reply that its prompt does not say. Raises UserError for a language without stop words."""
    silent = stop_words(settings.language, "novelty: language")
    for example in examples:
        reply, is_english = words(example["reply"]), settings.language == "en"
        phrases = _phrases(reply, words(example["prompt"]), silent, is_english)
        if is_english and not example["prompt"].strip():
            phrases = _names_and_numbers(reply, phrases)
        for start, end, label in phrases:
            yield {
                "example_id": example["example_id"],
                "char_start": reply[start].start,
                "char_end": reply[end - 1].end,
                "label": label,
            }


def _phrases(
    reply: Sequence[Word], prompt: Sequence[Word], silent: Collection[str], is_english: bool
) -> Iterator[tuple[int, int, str]]:
    """(first word, one past the last, label) of every phrase."""
    asked = {word.lower for word in prompt if not word.is_mark}
    stems = {stem(word) for word in asked} if is_english else set()
    new = [
        not word.is_mark
        and word.lower not in silent
        and word.lower not in asked
        and (word.text[0].isdigit() or stem(word.lower) not in stems)
        for word in reply
    ]
    in_title = [False] * len(reply)
    for start, end in quotations(reply):
        telling = [index for index in range(start, end) if not (reply[index].is_mark or reply[index].lower in silent)]
        if end - start <= _LONGEST_TITLE and telling and 2 * sum(new[index] for index in telling) >= len(telling):
            in_title[start:end] = [True] * (end - start)
    found = new
    if is_english:
        ends_sentence = [True, *(is_sentence_end(word) for word in reply)]
        sure = [
            title or word.text[0].isdigit() or (word.text[0].isupper() and not after_end)
            for word, title, after_end in zip(reply, in_title, ends_sentence, strict=False)
        ]
        found = _without_common(reply, new, sure, silent)
    found = _joined(reply, [tells and not title for tells, title in zip(found, in_title, strict=True)])
    for start, end in runs(in_title):
        yield start, end, TITLE
    for start, end in runs(found):
        yield start, end, _label(reply[start:end])


def _without_common(
    reply: Sequence[Word], new: Sequence[bool], sure: Sequence[bool], silent: Collection[str]
) -> list[bool]:
    """Which new words are left without adverbs, verbs at the ends of a run, and runs of common words alone.

    sure: which of them stay, whatever they are.
    """
    left = list(new)
    classes = [COMMON.get(word.lower, "") for word in reply]
    for index, word in enumerate(reply):
        is_adverb = word.lower.endswith("ly") and len(word.lower) > 5
        follower = reply[index + 1].lower if index + 1 < len(reply) else ""
        has_object = follower in silent and follower not in _AFTER_NOUNS
        is_participle = word.lower.endswith(("ed", "ing")) and len(word.lower) > 5 and has_object
        if not sure[index] and (is_adverb or is_participle):
            left[index] = False
    for start, end in list(runs(left)):
        first, last = start, end
        while first < last and "v" in classes[first] and not sure[first]:
            first += 1
        while first < last and classes[last - 1] in ("v", "a") and not sure[last - 1]:
            last -= 1
        if all(classes[index] and not sure[index] for index in range(first, last)):
            last = first
        left[start:end] = [first <= index < last for index in range(start, end)]
    return left


def _joined(reply: Sequence[Word], tells: Sequence[bool]) -> list[bool]:
    """The telling words and the small ones between two of them that are names or numbers."""
    joined = list(tells)
    for index in range(1, len(reply) - 1):
        before, word, after = reply[index - 1 : index + 2]
        if tells[index] or not (tells[index - 1] and tells[index + 1]) or word.lower not in _JOINING:
            continue
        if word.is_mark:
            is_year = len(after.text) == 4 and after.text.isdigit()
            joined[index] = is_year and (before.text[0].isdigit() or before.text[0].isupper())
        else:
            joined[index] = after.text[0].isupper() and (before.text[0].isupper() or before.text[0].isdigit())
    return joined


def _names_and_numbers(
    reply: Sequence[Word], phrases: Iterator[tuple[int, int, str]]
) -> Iterator[tuple[int, int, str]]:
    """The phrases without titles and terms, and of a phrase with names these alone."""
    for start, end, label in phrases:
        if label == NUMBER:
            yield start, end, label
        elif label == NAME:
            phrase = reply[start:end]
            for first, last in runs(
                _joined(phrase, [word.text[0].isupper() or word.text[0].isdigit() for word in phrase])
            ):
                yield start + first, start + last, _label(phrase[first:last])


def _label(phrase: Sequence[Word]) -> str:
    if any(word.text[0].isupper() for word in phrase):
        return NAME
    return NUMBER if any(word.text[0].isdigit() for word in phrase) else TERM
