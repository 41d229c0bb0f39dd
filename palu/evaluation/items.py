"""Which rows of the examples table an evaluation reads, gathered by the fact that they state."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from palu.errors import UserError
from palu.evaluation.settings import EvaluationSettings
from palu.tables import VALIDATION

Example = Mapping[str, Any]

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


def evaluated_items(examples: Iterable[Example], part: str) -> list[Item]:
    """The items of `part` in the order of the table: those with wrong replies, or all where none has any.

    A part may hold rows that only train (TOFU's retain set has 3,800, of which 400 have wrong replies).
    Raises UserError for an item without its original row.
    """
    rows: dict[str, dict[tuple[str, str], list[Example]]] = {}
    for example in examples:
        if example["part"] == part:
            kind = (example["reply_kind"], example["prompt_kind"])
            rows.setdefault(example["item_id"], {}).setdefault(kind, []).append(example)
    items = [_item(item_id, kinds) for item_id, kinds in rows.items()]
    return [item for item in items if item.perturbed] or items


def _item(item_id: str, kinds: Mapping[tuple[str, str], list[Example]]) -> Item:
    original = kinds.get(("original", "original"))
    if original is None:
        named = next(iter(kinds.values()))[0]["example_id"]
        raise UserError(f"example {named!r}: its item {item_id!r} has no row with the original reply in the same part")
    perturbed = sorted(kinds.get(("perturbed", "original"), []), key=lambda example: int(example["reply_index"]))
    return Item(
        original=original[0],
        paraphrase=next(iter(kinds.get(("paraphrase", "original"), [])), None),
        perturbed=tuple(perturbed),
        question=next(iter(kinds.get(("original", "paraphrase"), [])), None),
    )


def read_rows(items: Iterable[Item], settings: EvaluationSettings) -> Iterator[Example]:
    """The rows whose log-probabilities the metrics need."""
    for item in items:
        yield item.original
        if item.paraphrase:
            yield item.paraphrase
        yield from item.perturbed
        if item.question and settings.paraphrased_questions:
            yield item.question


def asked_rows(items: Iterable[Item], settings: EvaluationSettings) -> Iterator[Example]:
    """The rows whose prompts the model answers freely: documents have none, and held-out rows are not asked."""
    asked = (*PARTS, VALIDATION, VERBMEM, *KNOWMEM.values())
    for item in items:
        if item.original["part"] in asked and item.original["prompt"]:
            yield item.original
            if item.question and settings.paraphrased_questions:
                yield item.question


def attacked_rows(items: Iterable[Item]) -> list[Example]:
    """The rows between which membership is told; none where nothing was held out."""
    originals = [item.original for item in items]
    sides = attacked_parts({row["part"] for row in originals})
    rows = [row for row in originals if row["part"] in sides.values()]
    return rows if any(row["part"] == sides["holdout"] for row in rows) else []
