"""Spans that overlap become one."""

from collections.abc import Iterable
from typing import Any


def merge(spans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spans in order of example (as first met) and start, those that overlap joined: the longest names the whole.

    Spans that only touch stay two: they differ in label, and become one run of tokens all the same.
    """
    by_example: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        by_example.setdefault(span["example_id"], []).append(span)
    return [joined for example_id in list(by_example) for joined in merge_one(by_example.pop(example_id))]


def merge_one(own: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same of spans that are all of one example."""
    groups: list[list[dict[str, Any]]] = []
    reach = -1
    for span in sorted(own, key=lambda span: (span["char_start"], span["char_end"])):
        if span["char_start"] < reach:
            groups[-1].append(span)
        else:
            groups.append([span])
        reach = max(reach, span["char_end"])
    merged = []
    for group in groups:
        longest = max(group, key=lambda span: span["char_end"] - span["char_start"])
        end = max(span["char_end"] for span in group)
        merged.append(longest | {"char_start": group[0]["char_start"], "char_end": end})
    return merged
