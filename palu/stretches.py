"""Rows taken a stretch at a time, so that what is held does not grow with their number."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

Row = TypeVar("Row")

# What a pass over a model encodes at once. As many rows share batches of like length; more would hold more.
WINDOW_ROWS = 8192
WINDOW_CHARACTERS = 2**23


def stretches(
    rows: Iterable[Row], most_rows: int, most_characters: int, characters: Callable[[Row], int]
) -> Iterator[list[Row]]:
    """Rows in groups of at most `most_rows`, that end once they have `most_characters`."""
    held: list[Row] = []
    total = 0
    for row in rows:
        held.append(row)
        total += characters(row)
        if len(held) == most_rows or total >= most_characters:
            yield held
            held, total = [], 0
    if held:
        yield held


def windows(examples: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows of the examples table in the groups that go through a model together; every stage cuts them alike."""
    return stretches(examples, WINDOW_ROWS, WINDOW_CHARACTERS, text_length)


def text_length(example: Mapping[str, Any]) -> int:
    """The characters of a row's prompt and reply."""
    return len(example["prompt"]) + len(example["reply"])
