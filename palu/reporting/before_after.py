"""A few questions with the answers before and after, as lines for a terminal.

Which ones follows from the rows alone, never from the answers: each kind in turn (to be forgotten, the same in other
words, near, far) gives its next question. A kind begins with the first question of each group, groups in the order of
the rows; questions in other words begin with groups that no question before them is of.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from palu.errors import UserError
from palu.reporting.items import ForgetItem, items_of

# (part, kind of prompt) -> heading
KINDS = {
    ("forget", "original"): "To be forgotten",
    ("forget", "paraphrase"): "To be forgotten, in other words",
    ("near", "original"): "To be kept, close to it",
    ("far", "original"): "To be kept, far from it",
}
# A line, and at most of a model's name and of an answer
WIDTH, NAME_WIDTH, ANSWER_WIDTH = 110, 24, 90

Answers = Mapping[str, str]


def choose_questions(examples: pa.Table, wanted: int | Sequence[str]) -> dict[str, list[ForgetItem]]:
    """Heading -> its questions. wanted: how many in all, or their example ids, in the order to show.

    Raises UserError for an id of another row.
    """
    if not wanted:
        return {}
    found = {
        title: _spread([item for item in items_of(examples, part, {}, kind) if item.prompt])
        for (part, kind), title in KINDS.items()
    }
    if not isinstance(wanted, int):
        known = {item.example_id for items in found.values() for item in items}
        for name in wanted:
            if name not in known:
                raise UserError(f"report.questions: {name!r} is no question of part forget, near or far")
        return {
            title: [item for name in wanted for item in items if item.example_id == name]
            for title, items in found.items()
        }
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


def _spread(items: Sequence[ForgetItem]) -> list[ForgetItem]:
    """The first item of each group in order, then the second ones, and so on."""
    seen: Counter[str] = Counter()
    turns = []
    for item in items:
        turns.append(seen[item.group])
        seen[item.group] += 1
    return [item for _, item in sorted(zip(turns, items, strict=True), key=lambda pair: pair[0])]


def answer_lines(
    questions: Mapping[str, Sequence[ForgetItem]], models: Sequence[tuple[str, Answers]]
) -> Iterator[list[str]]:
    """A block of lines for each heading that has questions. models: names, each with example id -> answer."""
    width = min(NAME_WIDTH, max(len(name) for name, _ in models))
    room = min(ANSWER_WIDTH, WIDTH - width - 6)
    for title, items in questions.items():
        lines = [title]
        for item in items:
            lines.append(f"  {_cut(item.prompt, WIDTH - 2)}")
            for name, answers in models:
                text = answers.get(item.example_id)
                said = "(not asked)" if text is None else _cut(text, room) or "(nothing)"
                lines.append(f"    {_cut(name, width):{width}}  {said}")
        if items:
            yield lines


def _cut(text: str, limit: int) -> str:
    """A text in one line, its end left out where it is longer than `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
