"""The index: what the workflow writes for the report, checked key by key."""

from typing import Any

from pydantic import ConfigDict, Field

from palu.settings import Settings


class Part(Settings):
    """A part of an index; what the workflow adds to these keys is left alone."""

    model_config = ConfigDict(extra="ignore")


class EvaluatedModel(Part):
    """A model that was not unlearned, by its evaluation's folder."""

    evaluation: str


class Snapshot(Part):
    """A run's evaluation after `epoch` epochs."""

    epoch: int | float
    evaluation: str


class RunEntry(Part):
    """One unlearned model. `varied` holds the settings that a grid tried, `folder` steps.parquet and run.json."""

    label: str
    method: str
    tagger: str | None = None
    seed: int
    settings: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    varied: dict[str, Any] = Field(default_factory=dict)
    folder: str
    evaluation: str
    trajectory: list[Snapshot] = Field(default_factory=list)


class SelectionEntry(Part):
    """Which items chose the settings, in words."""

    note: str


class Index(Part):
    """What the workflow says of a study. Paths are relative to the working directory.

    spans: tagger -> spans table; a JSON file of the same name has its coverage. taggers: tagger -> its settings.
    display_tagger: whose spans the page shows. generations: how many items the page shows behind the first questions.
    commands: shell lines that run the study again. notes: what the benchmark's settings mean for the results.
    evidence: the method's label, or an arm's name, that the evidence is about; None leaves it to a rule. questions:
    how many questions the terminal shows with their answers, or their example ids. gold: the benchmark's own spans.
    """

    study: str
    benchmark: dict[str, Any]
    model: dict[str, Any]
    examples: str
    spans: dict[str, str] = Field(default_factory=dict)
    taggers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    display_tagger: str | None = None
    original: EvaluatedModel
    retain: EvaluatedModel | None = None
    runs: list[RunEntry] = Field(min_length=1)
    selection: SelectionEntry | None = None
    generations: int = 16
    evaluation: dict[str, Any] = Field(default_factory=dict)
    commands: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    evidence: str | None = None
    questions: int | list[str] = 0
    gold: str | None = None
