"""What a third party is shown of one unlearned model: what was asked, what it says now, what it cost, what is unknown.

The model is the one that the study names (`report.evidence`), or else, by a rule that is told, of the recommended
settings (of all where none is recommended) the one that meets most targets; its first seed stands for it. Everything
is read from files, and each number can be checked by the fingerprints and commands at the end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from palu import tables
from palu.errors import UserError
from palu.files import file_digest
from palu.reporting import metrics
from palu.reporting.aims import ATTACKS, DOCUMENTS_GONE, GONE, NOTICED, P_VALUE, STATISTIC
from palu.reporting.choice import Selection
from palu.reporting.collect import Arm, Measured, Run, Study
from palu.reporting.items import ForgetItem
from palu.reporting.marking import repeated, repetition, secrets
from palu.reporting.resampling import PRIVLEAK
from palu.reporting.statistics import SeedInterval, seed_interval
from palu.reporting.unmeasured import Unmeasured, unmeasured
from palu.reporting.verdict import Verdict

# The first rows stand on the page, all of them in the spreadsheet beside it.
ROW_LIMIT = 25
# What is shown in place of forget quality where there is no retain model to compare with.
SUBSTITUTES = tuple(
    each.metric for each in (*GONE, *DOCUMENTS_GONE, *NOTICED, *ATTACKS) if each.metric not in (STATISTIC, PRIVLEAK)
)
NEEDS_RETAIN = (P_VALUE, STATISTIC, PRIVLEAK)
TITLES = {metric.name: metric.title for metric in (*metrics.JUDGED, *metrics.COMPONENTS, metrics.TRUTH)}
TITLES |= {metric.name: metric.title for metric in metrics.FLUENCY if metric.name not in TITLES}
TITLES[P_VALUE] = "Forget quality p"
KEPT_PARTS = ("retain_", "real_authors_", "world_facts_")
TABLES = ("summary.json", "reasons.json", "scores.parquet", "generations.parquet")


@dataclass(frozen=True)
class Change:
    """One metric before (the original) and after (this model); interval: of the differences of all seeds."""

    metric: str
    title: str
    before: Measured
    after: Measured
    retain: float | None
    interval: SeedInterval | None

    @property
    def difference(self) -> float | None:
        if self.before.value is None or self.after.value is None:
            return None
        return self.after.value - self.before.value


@dataclass(frozen=True)
class Repeated:
    """How many of the answers that can be counted repeat what was to be forgotten, word for word."""

    model: str
    repeated: int
    items: int


@dataclass(frozen=True)
class Evidence:
    """The whole of it. words: of the page's sentences those that depend on the study."""

    study: Study
    arm: Arm
    run: Run
    verdict: Verdict
    chosen_by: str
    repetitions: tuple[Repeated, ...]
    forgetting: tuple[Change, ...]
    cost: tuple[Change, ...]
    unmeasured: tuple[Unmeasured, ...]
    fingerprints: tuple[tuple[str, str], ...]
    is_of_this_model: bool | None
    commands: tuple[str, ...]
    checks: tuple[str, ...]

    @property
    def model_folder(self) -> str:
        return str(Path(self.run.entry.folder) / "model")

    @property
    def without_retain(self) -> list[str]:
        """The metrics that need a retain model and have no number here, by title."""
        found = {each.metric for each in self.forgetting}
        names = [name for name in NEEDS_RETAIN if name in self.study.metrics and name not in found]
        return [TITLES.get(name, name) for name in names]

    @property
    def substitutes(self) -> list[str]:
        """What is shown in their place, by title."""
        return [each.title for each in self.forgetting if each.metric in SUBSTITUTES]


def gather(study: Study, verdicts: Sequence[Verdict], selection: Selection) -> Evidence:
    """Choose the model and gather what is known of it. Raises UserError for an arm that the study does not have."""
    verdict, chosen_by = choose(study, verdicts, selection)
    arm, run = verdict.arm, verdict.arm.first
    spoken = [("original", study.original), (arm.name, run.evaluation)]
    if study.retain is not None:
        spoken.append(("retain model", study.retain))
    counted = [(name, *repetition(study.questions, evaluation.generations)) for name, evaluation in spoken]
    changes = list(_changes(study, arm))
    return Evidence(
        study=study,
        arm=arm,
        run=run,
        verdict=verdict,
        chosen_by=chosen_by,
        repetitions=tuple(Repeated(*each) for each in counted),
        forgetting=tuple(each for each in changes if not is_cost(each.metric)),
        cost=tuple(each for each in changes if is_cost(each.metric)),
        unmeasured=tuple(unmeasured(spoken[:2])),
        fingerprints=tuple(_fingerprints(study, run)),
        is_of_this_model=_is_of(run),
        commands=tuple(study.index.commands),
        checks=tuple(_checks(study, run)),
    )


def is_cost(metric: str) -> bool:
    """Whether a metric tells what is kept, and not what is forgotten; a variant goes with the metric that it is of."""
    return metric.removesuffix("_stemmed") in metrics.COSTS or metric.startswith(KEPT_PARTS)


def choose(study: Study, verdicts: Sequence[Verdict], selection: Selection) -> tuple[Verdict, str]:
    """The verdict on the model that the evidence is about, and in words what chose it."""
    wanted = study.index.evidence
    if wanted is not None:
        named = [verdict for verdict in verdicts if wanted in (verdict.arm.label, verdict.arm.name)]
        if not named:
            allowed = ", ".join(dict.fromkeys(verdict.arm.label for verdict in verdicts))
            raise UserError(f"report.evidence: the study has no method {wanted!r}; allowed: {allowed}")
        chosen, whose = named, "The study names its method"
    else:
        chosen, whose = list(verdicts), "The study names no method"
    recommended = {choice.arm for choice in selection.choices}
    among = [verdict for verdict in chosen if verdict.arm.name in recommended] or chosen
    if len(among) == 1:
        how = f"the setting recommended by {selection.items}" if among != chosen else "its only setting"
        return among[0], f"{whose}: this is {how}."
    best = min(among, key=lambda verdict: (-verdict.met, not verdict.keeps_utility, verdict.distance))
    return best, (
        f"{whose}: of {len(among)} {'recommended ' if among != chosen else ''}settings this one meets most targets on "
        f"the reported rows, which makes its numbers look somewhat better than they are."
    )


def _changes(study: Study, arm: Arm) -> Iterator[Change]:
    order = {name: place for place, name in enumerate(TITLES)}
    evaluation = arm.first.evaluation
    for metric in sorted(study.metrics, key=lambda name: (order.get(name, len(order)), name)):
        before, after = study.original.measured(metric), evaluation.measured(metric)
        if after.value is None:
            continue
        values, _ = arm.measured(metric)
        differences = [value - before.value for value in values] if before.value is not None else []
        yield Change(
            metric=metric,
            title=TITLES.get(metric, metric.replace("_", " ")),
            before=before,
            after=after,
            retain=study.retain.measured(metric).value if study.retain else None,
            interval=seed_interval(differences) if len(differences) > 1 else None,
        )


def _identity(run: Run) -> dict[str, Any]:
    found = run.facts.get("identity")
    return found if isinstance(found, dict) else {}


def _fingerprints(study: Study, run: Run) -> Iterator[tuple[str, str]]:
    """What the evidence stands on: models and data by name, then the files that were read by path."""
    inputs = _identity(run).get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    named = {"unlearned model": run.facts.get("model"), "original model": inputs.get("model")}
    named |= {"tokenizer": inputs.get("tokenizer"), "rows at training": inputs.get("examples")}
    named |= {"spans at training": inputs.get("spans")}
    yield from ((name, str(value)) for name, value in named.items() if value is not None)
    evaluations = [study.original, run.evaluation, *([study.retain] if study.retain else [])]
    paths = [Path(path) for path in (study.index.examples, *study.index.spans.values())]
    paths += [evaluation.folder / name for evaluation in evaluations for name in TABLES]
    yield from ((str(path), file_digest(path)) for path in dict.fromkeys(paths) if path.exists())


def _is_of(run: Run) -> bool | None:
    """Whether the evaluation says that it is of the model that the run wrote; None where one of them is silent."""
    told = tables.provenance(run.evaluation.folder / "generations.parquet").get("model")
    wrote = run.facts.get("model")
    return None if told is None or wrote is None else told == wrote


def _checks(study: Study, run: Run) -> Iterator[str]:
    """Shell lines with which a reader checks the model: its fingerprint, and its answers anew."""
    model = quote(str(Path(run.entry.folder) / "model"))
    yield (
        'python -c "import sys, pathlib, palu.models; '
        f'print(palu.models.fingerprint(pathlib.Path(sys.argv[1])))" {model}'
    )
    told = {key: value for key, value in study.index.model.items() if key in ("template", "max_length", "dtype")}
    settings = "{" + ", ".join(f"{key}: {value}" for key, value in told.items()) + "}"
    yield (
        f"palu infer --model {model} --model-settings {quote(settings)} --examples {quote(study.index.examples)} "
        "--out check"
    )


@dataclass(frozen=True)
class Row:
    """One row with what both models said of it; None where a model was not asked."""

    item: ForgetItem
    before: str | None
    after: str | None
    repeated_before: list[str]
    repeated_after: list[str]


def rows(evidence: Evidence, items: Sequence[ForgetItem]) -> Iterator[Row]:
    """The rows of `items`, one after the other."""
    before = evidence.study.original.generations
    after = evidence.run.evaluation.generations
    for item in items:
        wanted = secrets(item)
        texts = [answers.get(item.example_id) for answers in (before, after)]
        told = [[] if text is None else repeated(text, wanted) for text in texts]
        yield Row(item, texts[0], texts[1], told[0], told[1])


def all_items(study: Study) -> list[ForgetItem]:
    """The rows that were to be forgotten, then those that only ask for them."""
    known = {item.example_id for item in study.items}
    return [*study.items, *(item for item in study.questions if item.example_id not in known)]
