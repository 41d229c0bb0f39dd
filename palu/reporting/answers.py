"""Rows with the answers of every model side by side, as the pages show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palu.reporting.drawing import looks
from palu.reporting.load import Evaluation, Study
from palu.reporting.targets import NEIGHBOURS
from palu.reporting.texts import REPEATED, SPAN, Item, Segment, marked_generation, marked_reply, secrets
from palu.tables import NEIGHBOUR_PARTS

# Arms whose answers are shown, so that a browser opens the page at once
ARM_LIMIT = 8


@dataclass(frozen=True)
class Speaker:
    """A model whose answers are shown: its name, its colour (None for a reference), and example id -> answer. rights:
    example id -> whether the answer to this neighbour is right."""

    name: str
    colour: str | None
    answers: Mapping[str, str]
    rights: Mapping[str, bool]


@dataclass(frozen=True)
class Answer:
    """What one model wrote; None where its evaluation has no generation for the item. is_right: of a neighbour."""

    speaker: Speaker
    segments: list[Segment] | None
    is_right: bool | None


@dataclass(frozen=True)
class Answered:
    """An item with the true reply and every model's answer."""

    item: Item
    reply: list[Segment]
    answers: list[Answer]

    @property
    def is_lost(self) -> bool:
        """Whether the original is right and some other model is not."""
        first, *others = (answer.is_right for answer in self.answers)
        return bool(first) and False in others


def speakers(study: Study) -> list[Speaker]:
    """The references, and the first seed of each arm."""
    found = looks(study.arms)
    arms = [(arm.name, found[arm.name].colour, arm.first.evaluation) for arm in study.arms[:ARM_LIMIT]]
    models = [*((name, None, evaluation) for name, evaluation in study.models), *arms]
    return [Speaker(name, colour, each.generations, _rights(study, each)) for name, colour, each in models]


def _rights(study: Study, evaluation: Evaluation) -> dict[str, bool]:
    scores = evaluation.items([metric.name for metric in NEIGHBOURS] if study.neighbours else [])
    return {name: bool(value) for _, ids, values in scores for name, value in zip(ids, values, strict=True)}


def answered(items: Sequence[Item], models: Sequence[Speaker]) -> list[Answered]:
    """The items with every model's answer. What was to be forgotten is marked where it is said again, what was to be
    kept where it is still said."""
    found = []
    for item in items:
        is_kept = item.part in NEIGHBOUR_PARTS
        wanted = [item.reply[start:end] for start, end in item.spans] if is_kept else secrets(item)
        answers = []
        for model in models:
            text = model.answers.get(item.example_id)
            kind = SPAN if is_kept else REPEATED
            segments = None if text is None else marked_generation(text, wanted, kind=kind)
            answers.append(Answer(model, segments, model.rights.get(item.example_id)))
        found.append(Answered(item, marked_reply(item), answers))
    return found
