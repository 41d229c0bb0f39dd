"""Texts as the page shows them: sensitive spans, initiating tokens, repeated secrets; which are shown."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from palu.inert import visible
from palu.reporting.initiating import ReplyTokens
from palu.reporting.items import CONTINUED, ForgetItem

# Kinds of marked text, strongest last; the template gives each its looks.
PLAIN, SPAN, INITIATING, REPEATED = "", "span", "initiating", "repeated"
# So many words of a document in a row are a copy of it; fewer are how people speak.
COPIED_WORDS = 8
# Of a reply; a document is longer than anyone reads on a page.
REPLY_CHARACTERS = 1500


@dataclass(frozen=True)
class Segment:
    """A stretch of text with one kind of mark."""

    text: str
    kind: str


def _segments(text: str, kinds: Sequence[str]) -> list[Segment]:
    shown = visible(text)
    grouped = groupby(range(len(shown)), key=lambda place: kinds[place])
    return [Segment("".join(shown[place] for place in places), kind) for kind, places in grouped]


def _cut(text: str, kinds: Sequence[str], length_limit: int) -> list[Segment]:
    """The first characters of a text with their marks, and how many more there are."""
    segments = _segments(text[:length_limit], kinds)
    left = len(text) - length_limit
    return segments if left <= 0 else [*segments, Segment(f" … ({left:,} more characters)", "cut")]


def marked_reply(
    item: ForgetItem, tokens: ReplyTokens | None, first_n: int | None, length_limit: int = REPLY_CHARACTERS
) -> list[Segment]:
    """The true reply, cut at `length_limit` characters, with its spans marked, and the initiating tokens stronger
    where tokens are known."""
    kinds = [PLAIN] * len(item.reply)
    for start, end in item.spans:
        kinds[start:end] = [SPAN] * (min(end, len(kinds)) - start)
    if tokens is not None:
        rows = zip(tokens.char_starts, tokens.char_ends, tokens.initiating(first_n), strict=True)
        for start, end, is_initiating in rows:
            blank = len(item.reply[start:end]) - len(item.reply[start:end].lstrip())
            joined = start > 0 and kinds[start - 1] == INITIATING
            for place in range(start if joined else start + blank, end) if is_initiating else ():
                kinds[place] = INITIATING
    return _cut(item.reply, kinds, length_limit)


def secrets(item: ForgetItem) -> list[str]:
    """The texts of the item's spans that its question does not already tell, each once; of a document that is to be
    continued every COPIED_WORDS words in a row."""
    if item.part == CONTINUED:
        return list(dict.fromkeys(_stretches(item.reply)))
    texts = dict.fromkeys(item.reply[start:end].strip() for start, end in item.spans)
    return [text for text in texts if text and text.casefold() not in item.prompt.casefold()]


def _stretches(text: str) -> Iterator[str]:
    words = list(re.finditer(r"\S+", text))
    for first, last in zip(words, words[COPIED_WORDS - 1 :], strict=False):
        yield text[first.start() : last.end()]


def _occurrences(text: str, wanted: Sequence[str]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    plain = " ".join(text.casefold().split())
    for secret in wanted:
        words = secret.split()
        # a document has hundreds of stretches, and compiling a pattern for each would take longer than all the rest
        if " ".join(words).casefold() in plain:
            pattern = r"(?<!\w)" + r"\s+".join(map(re.escape, words)) + r"(?!\w)"
            found.extend(match.span() for match in re.finditer(pattern, text, re.IGNORECASE))
    return found


def marked_generation(
    generation: str, wanted: Sequence[str], length_limit: int, kind: str = REPEATED
) -> list[Segment]:
    """A generation, cut at `length_limit` characters, with every word-for-word repetition of a secret marked."""
    kinds = [PLAIN] * len(generation)
    for start, end in _occurrences(generation, wanted):
        kinds[start:end] = [kind] * (end - start)
    return _cut(generation, kinds, length_limit)


def repeated(generation: str, wanted: Iterable[str]) -> list[str]:
    """The stretches of the generation that are secrets word for word, in order, each once; touching ones are one."""
    inside = [False] * len(generation)
    for start, end in _occurrences(generation, list(wanted)):
        inside[start:end] = [True] * (end - start)
    runs = groupby(range(len(generation)), key=lambda place: inside[place])
    texts = ("".join(generation[place] for place in places) for is_secret, places in runs if is_secret)
    return list(dict.fromkeys(texts))


def repetition(items: Sequence[ForgetItem], generations: Mapping[str, str]) -> tuple[int, int]:
    """How many items' generations repeat one of their secrets word for word, and how many items have a secret."""
    pairs = [(generations[item.example_id], secrets(item)) for item in items if item.example_id in generations]
    told = [(text, wanted) for text, wanted in pairs if wanted]
    return sum(bool(_occurrences(text, wanted)) for text, wanted in told), len(told)


def choose_items(items: Sequence[ForgetItem], count: int) -> list[ForgetItem]:
    """`count` items spread over the groups: each group in turn gives its next item, the g-th from its g-th on.

    Groups stand in alphabetical order and items in order of their ids, so that the choice follows from the data
    alone; starting a step further in each group shows different questions where all groups were asked the same.
    """
    groups: dict[str, list[ForgetItem]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    chosen: list[ForgetItem] = []
    for turn in range(max(map(len, groups.values()), default=0)):
        for nth, name in enumerate(sorted(groups)):
            members = groups[name]
            if turn < len(members) and len(chosen) < count:
                chosen.append(members[(nth + turn) % len(members)])
    return chosen
