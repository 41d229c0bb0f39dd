"""Which rows of the examples table an evaluation reads, gathered by the fact that they state."""

from array import array
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from palu.errors import UserError
from palu.evaluation.settings import EvaluationSettings
from palu.stored import LookedUp, StoredRows
from palu.tables import NEIGHBOUR_PARTS, VALIDATION

Example = Mapping[str, Any]
Numbers = npt.NDArray[np.int64]

# The parts whose probability, ROUGE and truth ratio are reported, in the order of the tables of the field
PARTS = ("forget", "retain", "real_authors", "world_facts")
# The starts of documents, and the questions about them
VERBMEM = "verbmem"
KNOWMEM = {"forget": "knowmem_forget", "retain": "knowmem_retain"}
# What the forget set consists of, and texts that no model has seen: membership is told between the two
SIDES = ("forget", "holdout")


def attacked_parts(parts: Container[str]) -> dict[str, str]:
    """Each side of the attacks -> its part: one made for them, where the benchmark has both, or the side itself.

    parts: the benchmark's.
    """
    own = {side: f"privleak_{side}" for side in SIDES}
    return own if all(part in parts for part in own.values()) else {side: side for side in SIDES}


def prompted_part(parts: Container[str]) -> str:
    """The part whose prompts make a model tell what it should have forgotten: that of MUSE, or the forget set.

    parts: the benchmark's.
    """
    return VERBMEM if VERBMEM in parts else "forget"


def judged_parts(parts: Container[str]) -> dict[str, str]:
    """Metric of the answers that the original judges -> the part whose prompts they answer.

    parts: the benchmark's.
    """
    retain = KNOWMEM["retain"] if VERBMEM in parts else "retain"
    return {"answer_nll": prompted_part(parts), "retain_answer_nll": retain}


def measured_parts(kinds: Container[tuple[str, str]]) -> tuple[str, ...]:
    """The parts that are asked and measured: those of the tables, and `validation` where the benchmark has it.

    kinds: the (part, reply kind) pairs of the benchmark.
    """
    return (*PARTS, VALIDATION) if (VALIDATION, "original") in kinds else PARTS


@dataclass(frozen=True)
class Item:
    """One fact of one part: rows of the examples table.

    original: the reply that the model was trained on, or would be. paraphrase: the same said otherwise. perturbed:
    wrong replies, by reply_index. question: the original reply to a paraphrased question.
    """

    original: Example
    paraphrase: Example | None
    perturbed: tuple[Example, ...]
    question: Example | None

    @property
    def example_id(self) -> str:
        """The name under which every score of the item stands: its original row's."""
        return str(self.original["example_id"])

    @property
    def restatement(self) -> Example:
        """The right reply that wrong ones are measured against: the paraphrase, or the original where none exists."""
        return self.paraphrase or self.original


# (reply kind, prompt kind) of the rows that an item has
_KINDS = {
    ("original", "original"): 0,
    ("paraphrase", "original"): 1,
    ("perturbed", "original"): 2,
    ("original", "paraphrase"): 3,
}
_KEYS = ("part", "item_id", "reply_kind", "prompt_kind", "reply_index")


class Items:
    """The items of every part, as numbers of their rows: some twenty bytes a row are held beside `rows` itself.

    most: part -> how many of its items there are at most (`EvaluationSettings.max_items`). kinds: the (part, reply
    kind) pairs of the benchmark. parts: in order of their first row.
    """

    def __init__(self, rows: Sequence[Example], most: Mapping[Any, int] | None = None) -> None:
        self._rows, self._most = rows, most or {}
        self.parts: dict[str, int] = {}
        kinds: set[tuple[str, str]] = set()
        names, parts, found, indices = array("q"), array("h"), array("b"), array("i")
        for row in rows.columns(*_KEYS) if isinstance(rows, StoredRows) else rows:
            kinds.add((row["part"], row["reply_kind"]))
            parts.append(self.parts.setdefault(row["part"], len(self.parts)))
            # 64 bits: of 100,000 items two share them once in four billion times
            names.append(hash((row["part"], row["item_id"])))
            found.append(_KINDS.get((row["reply_kind"], row["prompt_kind"]), -1))
            indices.append(row["reply_index"])
        self.kinds = frozenset(kinds)
        self._names, self._parts = np.array(names, np.int64), np.array(parts, np.int16)
        self._kinds, self._indices = np.array(found, np.int8), np.array(indices, np.int32)

    def of(self, part: str) -> Sequence[Item]:
        """The items of `part` in the order of the table: those with wrong replies, or all where none has any; where
        `most` allows fewer, that many at even distances.

        A part may hold rows that only train (TOFU's retain set has 3,800, of which 400 have wrong replies).
        Raises UserError for an item without its original row.
        """
        own = np.flatnonzero(self._parts == self.parts.get(part, -1))
        _, first, number = np.unique(self._names[own], return_index=True, return_inverse=True)
        # items in order of their first row
        order = np.argsort(first)
        place = np.empty(len(first), np.int64)
        place[order] = np.arange(len(first))
        item, kinds = place[number], self._kinds[own]

        def firsts(kind: int) -> npt.NDArray[np.int64]:
            result = np.full(len(first), -1, np.int64)
            result[item[kinds == kind][::-1]] = own[kinds == kind][::-1]
            return result

        wrong, wrong_item = own[kinds == 2], item[kinds == 2]
        by_index = np.lexsort((self._indices[wrong], wrong_item))
        bounds = np.searchsorted(wrong_item[by_index], np.arange(len(first) + 1))
        original = firsts(0)
        for lacking in np.flatnonzero(original < 0)[:1]:
            row = self._rows[int(own[first[order[lacking]]])]
            raise UserError(
                f"example {row['example_id']!r}: its item {row['item_id']!r} has no row with the original reply in "
                "the same part"
            )
        has_wrong = np.diff(bounds) > 0
        chosen = np.flatnonzero(has_wrong) if has_wrong.any() else np.arange(len(first))
        if len(chosen) > (most := self._most.get(part, len(chosen))):
            chosen = chosen[np.arange(most) * len(chosen) // most]
        return _PartItems(self._rows, chosen, [original, firsts(1), firsts(3)], wrong[by_index], bounds)


class _PartItems(LookedUp[Item]):
    """The items of one part, made as they are asked for."""

    def __init__(
        self, rows: Sequence[Example], chosen: Numbers, single: list[Numbers], wrong: Numbers, bounds: Numbers
    ) -> None:
        self._rows = rows
        self._original, self._paraphrase, self._question = (numbers[chosen].astype(np.int32) for numbers in single)
        self._wrong = wrong.astype(np.int32)
        self._start, self._stop = bounds[:-1][chosen].astype(np.int32), bounds[1:][chosen].astype(np.int32)

    def __len__(self) -> int:
        return len(self._original)

    def _at(self, number: int) -> Item:
        def row(numbers: npt.NDArray[np.int32]) -> Example | None:
            return self._rows[int(numbers[number])] if numbers[number] >= 0 else None

        return Item(
            original=self._rows[int(self._original[number])],
            paraphrase=row(self._paraphrase),
            perturbed=tuple(self._rows[i] for i in self._wrong[self._start[number] : self._stop[number]].tolist()),
            question=row(self._question),
        )


def read_rows(items: Iterable[Item], settings: EvaluationSettings) -> Iterator[Example]:
    """The rows whose log-probabilities the metrics need: of neighbours only the answers count."""
    for item in items:
        if item.original["part"] in NEIGHBOUR_PARTS:
            continue
        yield item.original
        if item.paraphrase:
            yield item.paraphrase
        yield from item.perturbed
        if settings.paraphrased_questions:
            yield from _forget_question(item)


def asked_rows(items: Iterable[Item], settings: EvaluationSettings) -> Iterator[Example]:
    """The rows whose prompts the model answers freely: documents have none, and held-out rows are not asked."""
    asked = (*PARTS, VALIDATION, *NEIGHBOUR_PARTS, VERBMEM, *KNOWMEM.values())
    for item in items:
        if item.original["part"] in asked and item.original["prompt"]:
            yield item.original
            if settings.paraphrased_questions:
                yield from _forget_question(item)


def _forget_question(item: Item) -> Iterator[Example]:
    """The paraphrased question, where a metric reads it."""
    if item.question and item.question["part"] == "forget":
        yield item.question


def attacked_among(items: Mapping[str, Sequence[Item]]) -> list[str]:
    """Of the parts with items those between which membership is told; none where nothing was held out."""
    held = [part for part, own in items.items() if own]
    sides = attacked_parts(held)
    return [part for part in held if part in sides.values()] if sides["holdout"] in held else []


def attacked_rows(items: Mapping[str, Sequence[Item]]) -> Iterator[Example]:
    """The rows between which membership is told: the originals of `attacked_among`."""
    return (item.original for part in attacked_among(items) for item in items[part])
