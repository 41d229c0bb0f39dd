"""Other replies to the prompts of the forget rows: for each one a few refusals out of a list of them.

Which ones is settled here, once, so that the frozen reference's log-probabilities of them can be cached; training
draws one of an item's for each epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from palu import tables
from palu.errors import UserError


def write_alternates(
    examples_path: Path, refusals_path: Path, count: int, out: Path, parts: Sequence[str] = tables.FORGET_PARTS
) -> None:
    """Write an examples table, part `alternate`, with `count` different refusals for each training row of `parts`.

    refusals_path: a text file, one reply a line; empty lines and those that begin with # are left out.
    Raises UserError when the file cannot be read or holds fewer than `count` replies, or the same one twice.
    """
    refusals = read_refusals(refusals_path)
    if count > len(refusals):
        raise UserError(f"{refusals_path}: {count} replies are asked for; allowed: up to {len(refusals)}, as it holds")
    rows = [row for row in tables.rows(examples_path, "examples") if row["part"] in parts]
    made = [
        {
            **row,
            "example_id": tables.alternate_id(row["example_id"], index),
            "reply": refusal,
            "reply_index": index,
            "part": "alternate",
        }
        for row in rows
        if tables.is_training_row(row)
        for index, refusal in enumerate(_chosen(refusals, row["example_id"], count))
    ]
    if not made:
        raise UserError(f"{examples_path}: no training row of part {' or '.join(parts)}")
    tables.write(out, "examples", made, {"examples": tables.content_digest(examples_path), "count": str(count)})


def read_refusals(path: Path) -> list[str]:
    """The replies of a file. Raises UserError for one that cannot be read, is empty, or says something twice."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    refusals = [line for line in lines if line and not line.startswith("#")]
    if not refusals:
        raise UserError(f"{path}: holds no reply; allowed: one reply a line")
    for index, refusal in enumerate(refusals):
        if refusal in refusals[:index]:
            raise UserError(f"{path}: {refusal!r} stands twice; allowed: each once")
    return refusals


def _chosen(refusals: Sequence[str], example_id: str, count: int) -> list[str]:
    """`count` of them in an order that belongs to the example alone."""
    return sorted(refusals, key=lambda refusal: hashlib.sha256(f"{example_id}\n{refusal}".encode()).digest())[:count]
