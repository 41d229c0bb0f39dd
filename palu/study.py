"""The study: one YAML file, validated whole before anything runs, its grids expanded into named runs.

Read at every start of Snakemake, so nothing here, nor in what it imports, loads torch, transformers or spaCy. Every
section's settings and defaults stand in the room that uses them.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from palu import methods, plain
from palu.benchmarks.parts import BenchmarkPart, parse_benchmark
from palu.errors import UserError
from palu.evaluation.settings import EvaluationSettings
from palu.files import canonical_json, text_digest
from palu.methods.base import MethodSettings
from palu.models import ModelSettings, is_small, model_key
from palu.reference.settings import ReferenceSettings
from palu.settings import Count, PositiveCount, Settings, unknown
from palu.tagging.parts import TaggerPart, check_models, choose_tagger, parse_taggers
from palu.tagging.settings import TaggingSettings
from palu.training.settings import FinetuneSettings, MachineSettings, TrainingSettings

# Names become folders: no separator, no leading dot, nothing that a shell or a browser would read.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
LONGEST_NAME = 100
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$", max_length=LONGEST_NAME)]
# Of one entry of `methods`: a slip in a grid is told before the machine counts to its end.
MOST_RUNS = 10_000


class ReportSettings(Settings):
    """What the report shows besides numbers. selection: in words, which items chose the settings. evidence: the entry
    of `methods` whose model the evidence is about; null leaves it to the number of targets met. questions: how many
    questions the terminal shows with the answers before and after, or the example ids of these questions."""

    selection: str | None = None
    evidence: str | None = None
    generations: PositiveCount = 16
    questions: Count | list[str] = 0


class _Seeds(Settings):
    """The seeds of a study, or of one entry of `methods`."""

    seeds: list[Count] = Field(default_factory=lambda: [0])


class Sections(_Seeds):
    """The sections of a study file, before the named parts (benchmark, taggers, methods) find their own settings."""

    study: Name
    benchmark: dict[str, Any]
    model: dict[str, Any] = Field(default_factory=dict)
    taggers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tagging: dict[str, Any] = Field(default_factory=dict)
    methods: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    reference: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    finetune: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)
    report: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    trajectory_epochs: list[PositiveCount] = Field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One training: a method with one choice of its settings, and a seed."""

    label: str
    method: str
    settings: MethodSettings
    training: TrainingSettings
    tagger: TaggerPart | None
    seed: int
    varied: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def values(self) -> dict[str, Any]:
        """All that the result depends on besides its inputs and the seed."""
        return {
            "method": self.method,
            "settings": self.settings.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }

    @cached_property
    def key(self) -> str:
        """Names the settings in a path: the same settings in two studies share their run."""
        return text_digest(canonical_json([self.values, self.tagger.key if self.tagger else None]))

    def description(self) -> dict[str, Any]:
        """What a report says of the run."""
        about = {"label": self.label, "seed": self.seed, "varied": dict(self.varied), "key": self.key}
        return about | self.values | {"tagger": self.tagger.label if self.tagger else None}


@dataclass(frozen=True)
class Study:
    """A validated study. Build it with `Study.parse`."""

    name: str
    benchmark: BenchmarkPart
    model: ModelSettings
    finetune: FinetuneSettings
    taggers: dict[str, TaggerPart]
    tagging: TaggingSettings
    runs: tuple[Run, ...]
    reference: ReferenceSettings
    evaluation: EvaluationSettings
    report: ReportSettings
    machine: MachineSettings
    trajectory_epochs: tuple[int, ...]

    @classmethod
    def parse(cls, values: Mapping[str, Any], place: str) -> Self:
        """Check a study's plain values; `place` is the file to name in errors.

        Raises UserError in one line: the key, its place, the value and what is allowed.
        """
        plain.check(values, place)
        sections = Sections.parse(values, place)
        named = {_named(label, f"{place}: taggers"): raw for label, raw in sections.taggers.items()}
        taggers = parse_taggers(named, f"{place}: taggers")
        scorecard = TaggingSettings.parse(sections.tagging, f"{place}: tagging")
        scorecard.check(taggers, f"{place}: tagging")
        training = TrainingSettings.parse(sections.training, f"{place}: training")
        reference = ReferenceSettings.parse(sections.reference, f"{place}: reference")
        evaluation = EvaluationSettings.parse(sections.evaluation, f"{place}: evaluation")
        seeds = _distinct(sections.seeds, f"{place}: seeds")
        runs = tuple(
            run
            for label, raw in sections.methods.items()
            for run in _expand(label, raw or {}, taggers, training, seeds, f"{place}: methods")
        )
        if not runs and scorecard.gold is None:
            known = ", ".join(sorted(methods.METHODS))
            raise UserError(f"{place}: methods: is empty; allowed: one or more of {known}")
        report = ReportSettings.parse(sections.report, f"{place}: report")
        if report.evidence is not None and report.evidence not in sections.methods:
            raise unknown("method", report.evidence, f"{place}: report.evidence", sections.methods)
        epochs = _distinct(sections.trajectory_epochs, f"{place}: trajectory_epochs")
        benchmark = parse_benchmark(sections.benchmark, f"{place}: benchmark")
        for run in runs:
            _check_run(run, benchmark, reference, epochs, place)
        if evaluation.tagger is not None and evaluation.tagger not in taggers:
            raise unknown("tagger", evaluation.tagger, f"{place}: evaluation.tagger", taggers)
        study = cls(
            name=sections.study,
            benchmark=benchmark,
            model=_model(sections.model, benchmark, f"{place}: model"),
            finetune=FinetuneSettings.parse(sections.finetune, f"{place}: finetune"),
            taggers=taggers,
            tagging=scorecard,
            runs=runs,
            reference=reference,
            evaluation=evaluation,
            report=report,
            machine=MachineSettings.parse(sections.machine, f"{place}: machine"),
            trajectory_epochs=tuple(sorted(epochs)),
        )
        check_models(taggers, "retain" in study.checkpoints, f"{place}: taggers")
        return study

    @cached_property
    def checkpoints(self) -> dict[str, str | None]:
        """Role -> the checkpoint that the study gives for it; None where it is trained. A role that can be neither
        given nor trained is absent: without retain rows there is nothing to train a retain model on."""
        given = {"original": self.model.checkpoint, "retain": self.model.retain_checkpoint}
        can_train = self.model.architecture is not None or self.model.base_checkpoint is not None
        trained = {"original": can_train, "retain": can_train and self.benchmark.settings.has_retain_rows}
        return {role: source for role, source in given.items() if source or trained[role]}

    @cached_property
    def model_key(self) -> str:
        """Names the model in a path."""
        trains = None in self.checkpoints.values()
        return model_key(self.model, canonical_json(self.finetune.model_dump(mode="json")) if trains else "")

    @cached_property
    def indexed_first_n(self) -> int | None:
        """At how many tokens of each run of sensitive tokens the reference's ranking is kept: as many as the setting
        and every method that reads it say; None = at all of them."""
        asked = [getattr(run.settings, "first_n", None) for run in self.runs if "top_k" in run.settings.needs]
        limits = [n for n in asked if n is not None]
        return max([self.reference.first_n, *limits]) if len(limits) == len(asked) else None

    @cached_property
    def evaluation_key(self) -> str:
        """Names the model part of the evaluation in a path: eight hexadecimal digits."""
        return text_digest(canonical_json(self.evaluation.model_part))

    @cached_property
    def has_small_model(self) -> bool:
        """Whether a job that holds the model is as fast with one thread as with several."""
        return is_small(self.model)

    @cached_property
    def evaluation_tagger(self) -> TaggerPart | None:
        """Whose spans the evaluation reads and the report shows: the one that it names, else the scorecard's gold or
        the first of kind `annotations`, which no tagger drew, else the first of all."""
        annotated = [label for label, tagger in self.taggers.items() if tagger.name == "annotations"]
        labels = [self.evaluation.tagger, self.tagging.gold, *annotated, *self.taggers]
        return next((self.taggers[label] for label in labels if label is not None), None)

    def description(self) -> dict[str, Any]:
        """What a report says of the study."""
        return {
            "study": self.name,
            "benchmark": {"name": self.benchmark.name, **self.benchmark.values},
            "model": {**self.model.model_dump(mode="json"), "key": self.model_key},
            "finetune": self.finetune.model_dump(mode="json"),
            "taggers": {label: tagger.description() for label, tagger in self.taggers.items()},
            "evaluation": self.evaluation.model_dump(mode="json"),
            "selection": {"note": self.report.selection} if self.report.selection else None,
            "generations": self.report.generations,
            "notes": list(self.benchmark.settings.notes),
            "evidence": self.report.evidence,
            "questions": self.report.questions,
        }


def _named(label: str, place: str) -> str:
    if not NAME.fullmatch(label) or len(label) > LONGEST_NAME:
        raise UserError(
            f"{place}: the name {label[:LONGEST_NAME]!r} cannot be a folder; allowed: letters, digits, '_', '.', '-', "
            f"up to {LONGEST_NAME} of them"
        )
    return label


def _model(raw: Mapping[str, Any], benchmark: BenchmarkPart, place: str) -> ModelSettings:
    settings = ModelSettings.parse(raw, place)
    needed = benchmark.settings.prompt_template
    if needed not in {None, settings.template}:
        raise UserError(
            f"{place}.template: {settings.template!r} would write around the prompts of benchmark {benchmark.name}, "
            f"which are whole texts; allowed: {needed}"
        )
    return settings


def _expand(
    label: str,
    raw: Mapping[str, Any],
    taggers: Mapping[str, TaggerPart],
    training: TrainingSettings,
    seeds: list[int],
    place: str,
) -> Iterator[Run]:
    """The runs of one entry of `methods`: every combination of its list values, for every seed (of its own, or of the
    study)."""
    where = f"{place}.{_named(label, place)}"
    values = dict(raw)
    name = values.pop("method", label)
    if "seeds" in values:
        seeds = _distinct(_Seeds.parse({"seeds": values.pop("seeds")}, where).seeds, f"{where}.seeds")
    settings_class = methods.load(name, f"{where}.method" if "method" in raw else place).Settings
    allowed = {"method", "tagger", "seeds", *settings_class.model_fields, *TrainingSettings.model_fields}
    for key in values:
        if key not in allowed:
            raise unknown("key", key, where, allowed)
    lists = {key: value for key, value in values.items() if isinstance(value, list)}
    for key, choices in lists.items():
        if not choices:
            raise UserError(f"{where}.{key}: [] has no value to try; allowed: a value or a list of values")
    count = math.prod(map(len, lists.values())) * len(seeds)
    if count > MOST_RUNS:
        raise UserError(f"{where}: its lists and the seeds make {count} runs; allowed: up to {MOST_RUNS}")
    for combination in itertools.product(*lists.values()):
        varied = dict(zip(lists, combination, strict=True))
        chosen = values | varied
        own = {key: value for key, value in chosen.items() if key in settings_class.model_fields}
        shared = {key: value for key, value in chosen.items() if key in TrainingSettings.model_fields}
        settings = settings_class.parse(own, where)
        trained = TrainingSettings.parse(training.model_dump(exclude_unset=True) | shared, where)
        tagger = choose_tagger(settings.localized, chosen.get("tagger"), taggers, where)
        several = {key: value for key, value in varied.items() if len(lists[key]) > 1}
        for seed in seeds:
            yield Run(label, name, settings, trained, tagger, seed, several)


def _check_run(
    run: Run, benchmark: BenchmarkPart, reference: ReferenceSettings, epochs: list[int], place: str
) -> None:
    if run.training.stop is not None and (hint := getattr(benchmark.settings, "validation_hint", None)):
        raise UserError(
            f"{place}: methods.{run.label}: stop watches rows of part 'validation', and the benchmark has none; "
            f"allowed: stop: null, or set benchmark.{hint}"
        )
    top_k = getattr(run.settings, "top_k", None)
    if "top_k" in run.settings.needs and top_k is not None and top_k > reference.top_k:
        raise UserError(
            f"{place}: methods.{run.label}.top_k: {top_k} exceeds what is indexed; "
            f"allowed: up to reference.top_k = {reference.top_k}, or raise that"
        )
    if (use := run.settings.retain_use) and not benchmark.settings.has_retain_rows:
        raise UserError(
            f"{place}: methods.{run.label}: {use} needs retain rows, and benchmark.retain is null; "
            "allowed: a file of them, a weight of 0, or another method"
        )
    late = [epoch for epoch in epochs if epoch >= run.training.epochs]
    if late:
        raise UserError(
            f"{place}: trajectory_epochs: {late[0]} is not before the last epoch of methods.{run.label}; "
            f"allowed: 1 to {run.training.epochs - 1} (the end of training is always evaluated)"
        )


def _distinct(values: list[int], place: str) -> list[int]:
    seen: set[int] = set()
    for value in values:
        if value in seen:
            raise UserError(f"{place}: {value} stands twice; allowed: each once")
        seen.add(value)
    return values
