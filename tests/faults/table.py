"""The table of what was seen: for each fault, each stage, and how a second run ended."""

import re
from collections.abc import Iterable
from pathlib import Path

BEGIN, END = "<!-- what `make faults` saw -->", "<!-- end -->"


def plain(message: str) -> str:
    """A message without what differs from machine to machine: folders, keys, process numbers."""
    message = re.sub(r"(?:[\w.\-…]*/)+([\w.\-]+)", r"\1", message)
    message = re.sub(r"\b[0-9a-f]{8,64}\b", "…", message)
    return message.replace("|", "\\|")


class Table:
    """Rows in the order of their faults and stages, whatever the order in which they were seen."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[str, str]] = {}

    def add(self, fault: str, stage: str, seen: str, rerun: str) -> None:
        self._seen[fault, stage] = plain(seen), rerun

    def write_into(self, page: Path, faults: Iterable[str], stages: Iterable[str]) -> None:
        """Write all rows between the two marks of a page, a table for each fault.

        What was not tried now, because nothing could be mounted or somebody chose a few, stays as it stands there.
        Raises ValueError where the page has no marks.
        """
        before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        old, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"{page}: lacks {BEGIN} or {END}")
        rows = _rows_of(old) | self._seen
        order = {stage: place for place, stage in enumerate(stages)}
        parts = []
        for fault in faults:
            own = sorted((order.get(stage, len(order)), stage, *rows[f, stage]) for f, stage in rows if f == fault)
            lines = [f"| {stage} | {seen} | {rerun} |" for _, stage, seen, rerun in own]
            parts += (
                ["\n".join([f"### {fault}\n", "| stage | seen | run again |", "|---|---|---|", *lines])] if own else []
            )
        page.write_text("\n\n".join([before + BEGIN, *parts, END + after]), encoding="utf-8")


def _rows_of(text: str) -> dict[tuple[str, str], tuple[str, str]]:
    """The rows that `Table` wrote."""
    found = {}
    for block in text.split("### ")[1:]:
        fault, *lines = block.splitlines()
        for line in lines[3:]:
            if cells := re.fullmatch(r"\| (.+?) \| (.+) \| (.+?) \|", line):
                found[fault, cells[1]] = cells[2], cells[3]
    return found
