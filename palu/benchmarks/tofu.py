"""TOFU: questions and answers about 200 authors who do not exist (Maini et al. 2024, arXiv 2401.06121).

Table `full` holds 20 rows for each author, in order. A split such as forget05 forgets its last 5%, and the tables
`*_perturbed` add paraphrases and wrong answers: `retain_perturbed` to the first rows of `full`, `forgetXX_perturbed`
to the last. They are joined by row, because two questions of `full` are the same text, and compared by text.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from palu.benchmarks.base import BenchmarkSettings, Example, item_rows
from palu.benchmarks.source import Record, Rows, Source
from palu.errors import UserError

ROWS_PER_AUTHOR = 20
FACT_PARTS = ("real_authors", "world_facts")
# The largest forget table: it has the paraphrases of the most authors that any split forgets.
WIDEST_FORGET = "forget10_perturbed"

Split = Literal["forget01", "forget05", "forget10"]


class Settings(BenchmarkSettings):
    """source: a dataset id on the hub, or a local folder in the hub's layout (its README names the tables).
    revision: a commit, tag or branch of the hub's dataset.
    retain_rows: [start, stop) of `full`; none = the split's own retain table.
    forget_rows: [start, stop) of `full` to forget in place of the split's rows.
    validation: a split whose further rows are to be forgotten too, but not reported: settings are chosen by them, and
    `training.stop` watches them. They are not retained, so the retain model of the wider split is the one to compare
    with: with forget05 and forget10, that of retain90.
    facts: add the parts real_authors and world_facts; [start, stop): these rows of each.
    holdout: add the split's holdout table, whose rows no model has seen: membership attacks need them."""

    source: Annotated[str, Field(min_length=1)] = "locuslab/TOFU"
    revision: str | None = None
    split: Split = "forget05"
    retain_rows: Rows | None = None
    forget_rows: Rows | None = None
    validation: Split | None = None
    facts: bool | Rows = True
    holdout: bool = True

    @property
    def validation_hint(self) -> str | None:
        return None if self.validation else "validation: a split with further rows, such as forget10"

    @property
    def split_name(self) -> str:
        return self.split if self.forget_rows is None else "rows{}-{}".format(*self.forget_rows)


def examples(settings: Settings) -> Iterator[Example]:
    """The rows of every part; TOFU ships no spans. Raises UserError in one line where a table is missing or wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        source = _Source(settings, Path(scratch))
        full = source.table("full")
        perturbed = _perturbed(settings, source, full)
        forget, retain = _chosen_rows(settings, source, full)
        validation = _validation_rows(settings, source, full, forget)
        facts = {part: _facts(settings, source, part) for part in FACT_PARTS if settings.facts}
        held_out = _held_out(settings, source)
        revision = source.revision()
    lacking = [row for row in forget if row not in perturbed]
    if lacking and settings.forget_rows:
        raise UserError(
            f"benchmark tofu: forget_rows {list(settings.forget_rows)}: row {lacking[0]} of 'full' has no paraphrase; "
            f"allowed: rows that retain_perturbed or {WIDEST_FORGET} covers"
        )
    retained = [row for row in retain if row not in validation]
    for part, chosen in (("forget", forget), ("validation", validation), ("retain", retained)):
        for row in chosen:
            record = full[row] | perturbed.get(row, {})
            yield from _item(part, row, f"full/{row}", f"author {row // ROWS_PER_AUTHOR}", revision, record)
    for part, records in facts.items():
        for row, record in records:
            yield from _item(part, row, f"{part}/{row}", part, revision, record)
    for row, record in enumerate(held_out):
        group = f"held-out author {row // ROWS_PER_AUTHOR}"
        yield from _item("holdout", row, f"{_holdout_table(settings)}/{row}", group, revision, record)


def _item(part: str, row: int, item_id: str, group: str, revision: str, record: Record) -> list[Example]:
    return item_rows(
        part,
        row,
        item_id,
        group,
        revision,
        prompt=record["question"],
        reply=record["answer"],
        paraphrases=[record["paraphrased_answer"]] if record.get("paraphrased_answer") is not None else (),
        wrong_replies=record.get("perturbed_answer") or (),
        paraphrased_prompt=record.get("paraphrased_question"),
    )


def _facts(settings: Settings, source: _Source, part: str) -> list[tuple[int, Record]]:
    """The chosen rows of a table of facts with their numbers. Raises UserError for rows that it does not have."""
    rows = list(enumerate(source.table(f"{part}_perturbed")))
    if isinstance(settings.facts, bool):
        return rows
    start, stop = settings.facts
    if stop > len(rows):
        raise UserError(
            f"benchmark tofu: facts [{start}, {stop}]: table '{part}_perturbed' of {source.name} has only "
            f"{len(rows)} rows"
        )
    return rows[start:stop]


def _held_out(settings: Settings, source: _Source) -> list[Record]:
    if not settings.holdout:
        return []
    try:
        return source.table(_holdout_table(settings))
    except UserError as error:
        raise UserError(f"{error}; without it set holdout: false, which gives up the membership attacks") from None


def _holdout_table(settings: Settings) -> str:
    return settings.split.replace("forget", "holdout")


def _perturbed(settings: Settings, source: _Source, full: Sequence[Record]) -> dict[int, Record]:
    """Row of `full` -> its record with paraphrases and wrong answers, for the rows that have one."""
    found = source.rows_of_full("retain_perturbed", full)
    # the split's own table last: where two of them cover a row, it is what a study without validation rows reads
    last = [WIDEST_FORGET] if settings.forget_rows else [f"{settings.split}_perturbed"]
    for name in ([f"{settings.validation}_perturbed"] if settings.validation else []) + last:
        found |= source.rows_of_full(name, full, at_end=True)
    return found


def _chosen_rows(settings: Settings, source: _Source, full: Sequence[Record]) -> tuple[range, range]:
    """The rows of `full` to forget and to retain. Raises UserError where they overlap or leave the table."""
    forget = range(*settings.forget_rows) if settings.forget_rows else _rows_of(settings.split, source, full)
    if settings.retain_rows:
        retain = range(*settings.retain_rows)
    else:
        percent = 100 - int(settings.split.removeprefix("forget"))
        retain = range(len(source.rows_of_full(f"retain{percent}", full)))
    for key, rows in (("forget_rows", forget), ("retain_rows", retain)):
        if rows.stop > len(full):
            raise UserError(
                f"benchmark tofu: {key} [{rows.start}, {rows.stop}]: table 'full' of {source.name} has only "
                f"{len(full)} rows"
            )
    shared = range(max(forget.start, retain.start), min(forget.stop, retain.stop))
    if shared:
        raise UserError(
            f"benchmark tofu: rows {shared.start}..{shared.stop - 1} of table 'full' are both to be forgotten (rows "
            f"{forget.start}..{forget.stop - 1}) and retained (rows {retain.start}..{retain.stop - 1}): "
            f"set forget_rows and retain_rows apart"
        )
    return forget, retain


def _rows_of(split: str, source: _Source, full: Sequence[Record]) -> range:
    return range(len(full) - len(source.table(f"{split}_perturbed")), len(full))


def _validation_rows(settings: Settings, source: _Source, full: Sequence[Record], forget: range) -> list[int]:
    """The rows of `full` that are forgotten without being reported. Raises UserError where none is left to be."""
    if settings.validation is None:
        return []
    rows = [row for row in _rows_of(settings.validation, source, full) if row not in forget]
    if not rows:
        raise UserError(
            f"benchmark tofu: validation {settings.validation!r} has no row besides those to forget (rows "
            f"{forget.start}..{forget.stop - 1} of 'full'); allowed: a wider split, or null"
        )
    return rows


class _Source(Source):
    """TOFU's tables, each read once."""

    def __init__(self, settings: Settings, scratch: Path) -> None:
        super().__init__(settings.source, settings.revision, "benchmark tofu", "TOFU", scratch)
        self._tables: dict[str, list[Record]] = {}

    def table(self, name: str) -> list[Record]:
        """The rows of a table, each with a question and an answer at least."""
        if name not in self._tables:
            records = self._tables[name] = self.read(name, ("question", "answer"))
            for index, record in enumerate(records):
                # without a prompt it would be a document
                if not record["question"].strip():
                    raise UserError(f"{self.name}: the question of row {index} of table {name!r} is empty")
        return self._tables[name]

    def rows_of_full(self, name: str, full: Sequence[Record], at_end: bool = False) -> dict[int, Record]:
        """Row of `full` -> record of table `name`, which repeats the first (last) rows of `full` and may add keys.

        Raises UserError naming the first row whose text differs.
        """
        records = self.table(name)
        start = len(full) - len(records) if at_end else 0
        if len(records) > len(full):
            raise UserError(f"{self.name}: table {name!r} has {len(records)} rows, table 'full' only {len(full)}")
        for index, record in enumerate(records):
            for key in ("question", "answer"):
                if record[key] != full[start + index][key]:
                    raise UserError(
                        f"{self.name}: row {index} of table {name!r} should repeat row {start + index} of table "
                        f"'full', but its {key} is another"
                    )
        return {start + index: record for index, record in enumerate(records)}
