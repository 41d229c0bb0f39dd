"""The page's parts that are no tables of metrics: generations side by side, settings tried, where all came from."""

import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from palu import __version__
from palu.files import file_digest
from palu.reporting.aims import NEIGHBOURS
from palu.reporting.choice import Choice
from palu.reporting.collect import Arm, Evaluation, Study
from palu.reporting.initiating import Initiating
from palu.reporting.items import ForgetItem
from palu.reporting.marking import (
    REPEATED,
    SPAN,
    Segment,
    choose_items,
    marked_generation,
    marked_reply,
    repetition,
    secrets,
)
from palu.reporting.verdict import Verdict

# The page stays one that a browser opens at once.
ITEM_LIMIT = 60
ARM_LIMIT = 8
GENERATION_CHARACTERS = 700


@dataclass(frozen=True)
class Answer:
    """What one model wrote; None where its evaluation has no generation for the item. is_right: of a neighbour."""

    model: str
    series: int | None
    segments: list[Segment] | None
    is_right: bool | None = None


@dataclass(frozen=True)
class ShownItem:
    """A forget item with the true reply and every model's answer."""

    example_id: str
    group: str
    prompt: str
    reply: list[Segment]
    answers: list[Answer]


@dataclass(frozen=True)
class Repetition:
    """How many items' generations repeat a sensitive span word for word."""

    model: str
    series: int | None
    repeated: int
    items: int

    @property
    def share(self) -> float:
        return self.repeated / self.items


@dataclass(frozen=True)
class Generations:
    """The side-by-side section. open_items are shown, folded_items lie in an unfolding part."""

    open_items: list[ShownItem]
    folded_items: list[ShownItem]
    repetitions: list[Repetition]
    item_count: int
    group_count: int
    omitted_arms: int
    has_tokens: bool


def generations(study: Study, aimed: Initiating) -> Generations:
    """Choose the items and mark every text."""
    speakers = [(name, series, each.generations) for name, series, each in _evaluations(study)]
    first_n = study.first_n[0] if study.first_n else None
    has_tokens = bool(aimed.tokens) and study.first_n is not None
    chosen = choose_items(study.questions, ITEM_LIMIT)
    shown = []
    for item in chosen:
        tokens = aimed.tokens.get(item.example_id) if has_tokens else None
        reply = marked_reply(item, tokens, first_n)
        wanted = secrets(item)
        answers = [
            Answer(name, series, _marked(texts.get(item.example_id), wanted)) for name, series, texts in speakers
        ]
        shown.append(ShownItem(item.example_id, item.group, item.shown_prompt, reply, answers))
    counted = [(name, series, *repetition(study.questions, texts)) for name, series, texts in speakers]
    open_count = min(study.index.generations, ITEM_LIMIT)
    return Generations(
        open_items=shown[:open_count],
        folded_items=shown[open_count:],
        repetitions=[Repetition(*row) for row in counted if row[3]],
        item_count=len(study.questions),
        group_count=len({item.group for item in study.questions}),
        omitted_arms=max(len(study.arms) - ARM_LIMIT, 0),
        has_tokens=has_tokens,
    )


@dataclass(frozen=True)
class Neighbours:
    """The questions that were to be kept. lost: those that the original answers right and some method does not."""

    lost: list[ShownItem]
    others: list[ShownItem]


def neighbours(study: Study) -> Neighbours:
    """Each neighbour with every model's answer and whether it is right, first seeds."""
    speakers = [(name, series, each.generations, _rights(each)) for name, series, each in _evaluations(study)]
    found = Neighbours([], [])
    for item in study.neighbours:
        wanted = [item.reply[start:end] for start, end in item.spans]
        answers = [
            Answer(name, series, _marked(texts.get(item.example_id), wanted, SPAN), rights.get(item.example_id))
            for name, series, texts, rights in speakers
        ]
        first, *others = (answer.is_right for answer in answers)
        reply = marked_reply(item, None, None)
        shown = ShownItem(item.example_id, item.group, item.shown_prompt, reply, answers)
        (found.lost if first and False in others else found.others).append(shown)
    return found


def _rights(evaluation: Evaluation) -> dict[str, bool]:
    """example_id -> whether the answer to this neighbour is right."""
    scores = evaluation.items([measure.metric for measure in NEIGHBOURS])
    return {name: bool(value) for _, ids, values in scores for name, value in zip(ids, values, strict=True)}


def _evaluations(study: Study) -> Iterator[tuple[str, int | None, Evaluation]]:
    yield "original", None, study.original
    for place, arm in enumerate(study.arms[:ARM_LIMIT]):
        yield arm.name, place, arm.first.evaluation
    if study.retain is not None:
        yield "retain model", None, study.retain


def _marked(generation: str | None, wanted: Sequence[str], kind: str = REPEATED) -> list[Segment] | None:
    return None if generation is None else marked_generation(generation, wanted, GENERATION_CHARACTERS, kind)


# More verdicts than these are folded away, but for the setting that the grid recommends for each method.
CARD_LIMIT = 9


@dataclass(frozen=True)
class Cards:
    """The verdicts with their arms' places in the colour order: those shown at once, and those folded away."""

    shown: list[tuple[int, Verdict]]
    folded: list[tuple[int, Verdict]]


def cards(verdicts: Sequence[Verdict], choices: Sequence[Choice]) -> Cards:
    """All verdicts where they are few; else each method's recommended setting, or its only one."""
    placed = list(enumerate(verdicts))
    if len(verdicts) <= CARD_LIMIT:
        return Cards(placed, [])
    chosen = {choice.arm for choice in choices}
    several = {choice.method for choice in choices}
    shown = [pair for pair in placed if pair[1].arm.name in chosen or pair[1].arm.method not in several]
    return Cards(shown, [pair for pair in placed if pair not in shown])


@dataclass(frozen=True)
class Tried:
    """The settings of each method that the study ran: keys of the grid, and per arm its values."""

    keys: list[str]
    values: dict[str, list[str]]
    counts: dict[str, int]

    @property
    def has_grid(self) -> bool:
        return bool(self.keys)

    @property
    def is_even(self) -> bool:
        return len(set(self.counts.values())) == 1


def tried(study: Study) -> Tried:
    """What was tried, by method."""
    keys = list(dict.fromkeys(key for arm in study.arms for key in arm.varied))
    values = {arm.name: [_value(arm.varied[key]) if key in arm.varied else "" for key in keys] for arm in study.arms}
    counts: dict[str, int] = {}
    for arm in study.arms:
        counts[arm.method] = counts.get(arm.method, 0) + 1
    return Tried(keys, values, counts)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else yaml_text(value).removesuffix("...\n").strip()


def yaml_text(value: Any) -> str:
    """`value` as YAML, keys in order."""
    text: str = yaml.safe_dump(value, sort_keys=True, allow_unicode=True, default_flow_style=False, width=110)
    return text


@dataclass(frozen=True)
class Provenance:
    """Where the numbers came from. settings: heading -> YAML; digests: file -> SHA-256, shortened."""

    settings: list[tuple[str, str]]
    versions: list[tuple[str, str]]
    digests: list[tuple[str, str]]
    commands: list[str]


LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "spacy", "numpy", "scipy", "pyarrow", "snakemake")


def provenance(study: Study, raw: dict[str, Any]) -> Provenance:
    """Gather it. raw: the index as it was given, whose other keys are told in full."""
    about = {key: value for key, value in raw.items() if key not in {"runs", "commands"}}
    settings = [("study", yaml_text(about))]
    settings += [(arm.name, yaml_text(_told(arm))) for arm in study.arms]
    versions = [("palu", __version__), ("python", platform.python_version())]
    for library in LIBRARIES:
        try:
            versions.append((library, importlib.metadata.version(library)))
        except importlib.metadata.PackageNotFoundError:
            versions.append((library, "not installed"))
    return Provenance(settings, versions, list(_digests(study)), list(study.index.commands))


def _told(arm: Arm) -> dict[str, Any]:
    entry = arm.first.entry
    return {
        "method": entry.method,
        "tagger": entry.tagger,
        "settings": entry.settings,
        "training": entry.training,
        "runs": {f"seed {run.entry.seed}": {"folder": run.entry.folder, "run.json": run.facts} for run in arm.runs},
    }


def _digests(study: Study) -> Iterator[tuple[str, str]]:
    named = [study.index.examples, *study.index.spans.values()]
    evaluations = [*(evaluation for _, evaluation in study.models), *(run.evaluation for run in study.runs)]
    for path in [*map(Path, named), *(evaluation.folder / "summary.json" for evaluation in evaluations)]:
        if path.exists():
            yield str(path), file_digest(path)


def asked_to_forget(items: Sequence[ForgetItem]) -> tuple[int, int]:
    """How many rows, of how many groups (people, articles)."""
    return len(items), len({item.group for item in items})
