"""The texts that pages and terminals show: which rows, with what is sensitive in them, and what of it is said again.

Which rows are shown follows from the rows alone, never from the answers.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from palu.errors import UserError
from palu.inert import visible
from palu.tables import EVALUATION_PARTS

# Of the evaluation's own rows those that ask for what a document says: its next words, and questions on it
CONTINUED, QUESTIONED = "verbmem", "knowmem_forget"
# Of a prompt, of a true reply (a document is longer than anyone reads on a page), and of an answer
PROMPT_CHARACTERS, REPLY_CHARACTERS, GENERATION_CHARACTERS = 600, 1500, 700
# So many words of a document in a row are a copy of it; fewer are how people speak
COPIED_WORDS = 8
# (part, kind of prompt) -> heading
KINDS = {
    ("forget", "original"): "To be forgotten",
    ("forget", "paraphrase"): "To be forgotten, in other words",
    ("near", "original"): "To be kept, close to it",
    ("far", "original"): "To be kept, far from it",
}
# Kinds of marked text; the style sheet gives each its looks
PLAIN, SPAN, REPEATED = "", "span", "repeated"

Spans = Mapping[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Item:
    """A prompt-reply row with the sensitive spans of its reply.

    A document has no prompt. A row of an evaluation part asks for a document: of a question the whole answer is the
    span, of a beginning none is. A neighbour, which was to be kept, has the spans that its answer has to contain.
    """

    example_id: str
    group: str
    prompt: str
    reply: str
    spans: tuple[tuple[int, int], ...]
    part: str = "forget"

    @property
    def shown_prompt(self) -> str:
        """The prompt as the page shows it: without examples before the question, and only the end of a long one."""
        if not self.prompt:
            return f"document of {len(self.reply):,} characters"
        text = self.prompt
        if self.part == QUESTIONED:
            text = re.sub(r"\s*\bAnswer:\s*$", "", text.rpartition("Question:")[2]).strip()
        return text if len(text) <= PROMPT_CHARACTERS else f"… {text[-PROMPT_CHARACTERS:]}"


def asked(examples: pa.Table, part: str, prompt_kind: str = "original") -> pa.Table:
    """The rows of a part with their original reply, to the original or a paraphrased prompt."""
    wanted = {"part": part, "reply_kind": "original", "prompt_kind": prompt_kind}
    for column, value in wanted.items():
        examples = examples.filter(pc.equal(examples[column], value))
    return examples


def items_of(examples: pa.Table, part: str, spans: Spans, prompt_kind: str = "original") -> Iterator[Item]:
    """The items of a part, in order of their ids. spans: example_id -> sensitive characters of the reply.

    A paraphrased question has those of the original one.
    """
    names = {row["item_id"]: row["example_id"] for row in asked(examples, part).to_pylist()}
    for row in sorted(asked(examples, part, prompt_kind).to_pylist(), key=lambda row: row["example_id"]):
        own = spans.get(names.get(row["item_id"], ""), [])
        own = [(0, len(row["reply"]))] if part == QUESTIONED else sorted(own)
        yield Item(row["example_id"], row["group"], row["prompt"], row["reply"], tuple(own), part)


def questions(forget: Iterable[Item], examples: pa.Table) -> tuple[Item, ...]:
    """The rows whose answers show what a model still knows: forget rows with a prompt, and those that ask for
    documents; the documents themselves where nothing asks for them."""
    forget = tuple(forget)
    found = [item for item in forget if item.prompt]
    for part in EVALUATION_PARTS:
        if part in (CONTINUED, QUESTIONED):
            found += items_of(examples, part, {})
    return tuple(found) or forget


def choose_questions(examples: pa.Table, wanted: int | Sequence[str], spans: Spans) -> dict[str, list[Item]]:
    """Heading -> its questions. wanted: how many in all, or their example ids, in the order to show.

    Each kind in turn gives its next question. A kind begins with the first question of each group, groups in the order
    of the rows; questions in other words begin with groups that no question before them has. Raises UserError for an
    id of another row.
    """
    if not wanted:
        return {}
    found = {
        title: _spread([item for item in items_of(examples, part, spans, kind) if item.prompt])
        for (part, kind), title in KINDS.items()
    }
    if not isinstance(wanted, int):
        known = {item.example_id: (title, item) for title, items in found.items() for item in items}
        for name in wanted:
            if name not in known:
                raise UserError(f"report.questions: {name!r} is no question of part forget, near or far")
        chosen = [known[name] for name in wanted]
        return {title: [item for heading, item in chosen if heading == title] for title in found}
    counts = dict.fromkeys(found, 0)
    left = wanted
    while left and any(counts[title] < len(items) for title, items in found.items()):
        for title, items in found.items():
            if left and counts[title] < len(items):
                counts[title] += 1
                left -= 1
    original, other, *_ = found
    taken = {item.group for item in found[original][: counts[original]]}
    found[other].sort(key=lambda item: item.group in taken)
    return {title: items[: counts[title]] for title, items in found.items()}


def _spread(items: Sequence[Item]) -> list[Item]:
    """The first item of each group in order, then the second ones, and so on."""
    seen: Counter[str] = Counter()
    turns = []
    for item in items:
        turns.append(seen[item.group])
        seen[item.group] += 1
    return [item for _, item in sorted(zip(turns, items, strict=True), key=lambda pair: pair[0])]


def choose_items(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items spread over the groups: each group in turn gives its next item, the g-th from its g-th on.

    Groups are in alphabetical order and items in order of their ids. Starting a step further in each group shows
    different questions where all groups were asked the same.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    turned = [
        groups[name][nth % len(groups[name]) :] + groups[name][: nth % len(groups[name])]
        for nth, name in enumerate(sorted(groups))
    ]
    turns = range(max(map(len, turned), default=0))
    return [members[turn] for turn in turns for members in turned if turn < len(members)][:count]


@dataclass(frozen=True)
class Segment:
    """A stretch of text with one kind of mark."""

    text: str
    kind: str


def _segments(text: str, spans: Iterable[tuple[int, int]], kind: str, length_limit: int) -> list[Segment]:
    """The first characters of a text with its spans marked, and how many more there are."""
    shown = visible(text[:length_limit])
    kinds = [PLAIN] * len(shown)
    for start, end in spans:
        kinds[start:end] = [kind] * (min(end, len(kinds)) - start)
    grouped = groupby(range(len(shown)), key=lambda place: kinds[place])
    segments = [Segment("".join(shown[place] for place in places), own) for own, places in grouped]
    left = len(text) - length_limit
    return segments if left <= 0 else [*segments, Segment(f" … ({left:,} more characters)", "cut")]


def marked_reply(item: Item, length_limit: int = REPLY_CHARACTERS) -> list[Segment]:
    """The true reply, cut at `length_limit` characters, with its spans marked."""
    return _segments(item.reply, item.spans, SPAN, length_limit)


def marked_generation(
    generation: str, wanted: Sequence[str], length_limit: int = GENERATION_CHARACTERS, kind: str = REPEATED
) -> list[Segment]:
    """A generation, cut at `length_limit` characters, with every word-for-word repetition of a secret marked."""
    return _segments(generation, _occurrences(generation, wanted), kind, length_limit)


def secrets(item: Item) -> list[str]:
    """The texts of the item's spans that its question does not already give, each once; of a document that is to be
    continued every COPIED_WORDS words in a row."""
    if item.part == CONTINUED:
        words = list(re.finditer(r"\S+", item.reply))
        pairs = zip(words, words[COPIED_WORDS - 1 :], strict=False)
        return list(dict.fromkeys(item.reply[first.start() : last.end()] for first, last in pairs))
    texts = dict.fromkeys(item.reply[start:end].strip() for start, end in item.spans)
    return [text for text in texts if text and text.casefold() not in item.prompt.casefold()]


def _occurrences(text: str, wanted: Iterable[str]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    plain = " ".join(text.casefold().split())
    for secret in wanted:
        words = secret.split()
        # a document has hundreds of stretches, and compiling a pattern for each would take longer than all the rest
        if " ".join(words).casefold() in plain:
            pattern = r"(?<!\w)" + r"\s+".join(map(re.escape, words)) + r"(?!\w)"
            found.extend(match.span() for match in re.finditer(pattern, text, re.IGNORECASE))
    return found


def repeated(generation: str, wanted: Iterable[str]) -> list[str]:
    """The stretches of the generation that are secrets word for word, in order, each once; touching ones are one."""
    inside = [False] * len(generation)
    for start, end in _occurrences(generation, wanted):
        inside[start:end] = [True] * (end - start)
    runs = groupby(range(len(generation)), key=lambda place: inside[place])
    texts = ("".join(generation[place] for place in places) for is_secret, places in runs if is_secret)
    return list(dict.fromkeys(texts))


def repetition(items: Sequence[Item], generations: Mapping[str, str]) -> tuple[int, int]:
    """How many items' generations repeat one of their secrets word for word, and how many items have a secret."""
    pairs = [(generations[item.example_id], secrets(item)) for item in items if item.example_id in generations]
    asked_for = [(text, wanted) for text, wanted in pairs if wanted]
    return sum(bool(_occurrences(text, wanted)) for text, wanted in asked_for), len(asked_for)
