"""What a study is judged by: the measures of forgetting and of what is kept, by what its benchmark can measure.

One literal table, from the richest kind of benchmark to the poorest; a study is of the first kind that some model
of it has both sides of. Aims:

    level    the retain model's level, within LEVEL_TOLERANCE on either side
    low      at most the retain model's level and LEVEL_TOLERANCE; without a retain model at most REMNANT_SHARE of the
             original's, a bound of ours: nothing then says what a model that never saw the rows would reach
    zero     percent within PRIVLEAK_TOLERANCE of 0
    keep     at least UTILITY_SHARE of the original's

Sources: the measures of TOFU (arXiv 2401.06121, section 2.2), and the criteria of MUSE (arXiv 2407.06460, section 3):
no verbatim memorization, no knowledge memorization and no privacy leakage are forgetting, and the knowledge of the
retain set is what is kept.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from palu.tables import VALIDATION

LEVEL_TOLERANCE = 0.05
REMNANT_SHARE = 0.5
UTILITY_SHARE = 0.95
# 0.05 of AUC, where the retain model's AUC is 0.5: a side in one column then is a side in the other.
PRIVLEAK_TOLERANCE = 10.0

Aim = Literal["level", "low", "zero", "keep"]
FORGET = "forget"


@dataclass(frozen=True)
class Measure:
    """A metric, its heading, and what it has to reach."""

    metric: str
    title: str
    aim: Aim

    def of(self, part: str) -> "Measure | None":
        """The same measure of another part that is forgotten; None where the metric is of no such part."""
        if part == FORGET:
            return self
        prefix = f"{FORGET}_"
        if not self.metric.startswith(prefix):
            return None
        return replace(self, metric=f"{part}_{self.metric.removeprefix(prefix)}")


@dataclass(frozen=True)
class Axes:
    """The measures of one kind of study. planes: pairs (forgetting, kept) to draw; the first that has values is."""

    forgetting: tuple[Measure, ...]
    utility: tuple[Measure, ...]
    planes: tuple[tuple[str, str], ...]

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (*self.forgetting, *self.utility)

    def of(self, part: str) -> list[Measure]:
        """The measures of forgetting, on `part`: `forget` or `validation`."""
        return [measure for each in self.forgetting if (measure := each.of(part)) is not None]

    @property
    def validation(self) -> list[Measure]:
        return self.of(VALIDATION)


QUESTIONS = Axes(
    forgetting=(
        Measure("forget_initiating_probability", "Initiating-token probability", "level"),
        Measure("forget_rouge", "Forget ROUGE", "level"),
    ),
    utility=(Measure("model_utility", "Model utility", "keep"),),
    planes=(("forget_quality_statistic", "model_utility"), ("forget_probability", "model_utility")),
)
MEMORIZATION = Axes(
    forgetting=(
        Measure("verbatim_memorization", "Verbatim memorization", "low"),
        Measure("knowledge_memorization_forget", "Knowledge of forget set", "low"),
        Measure("privleak", "PrivLeak, %", "zero"),
    ),
    utility=(Measure("knowledge_memorization_retain", "Knowledge of retain set", "keep"),),
    planes=(
        ("knowledge_memorization_forget", "knowledge_memorization_retain"),
        ("verbatim_memorization", "knowledge_memorization_retain"),
    ),
)
REQUESTS = Axes(
    forgetting=(
        Measure("forget_initiating_probability", "Initiating-token probability", "low"),
        Measure("forget_probability", "Forget probability, whole reply", "low"),
        Measure("forget_rouge", "Forget ROUGE", "low"),
    ),
    utility=(
        Measure("retain_probability", "Retain probability", "keep"),
        Measure("retain_rouge", "Retain ROUGE", "keep"),
    ),
    planes=(
        ("forget_probability", "retain_probability"),
        ("forget_rouge", "retain_rouge"),
        ("forget_initiating_probability", "retain_probability"),
    ),
)
KINDS = (QUESTIONS, MEMORIZATION, REQUESTS)


def axes_of(is_measured: Callable[[str], bool]) -> Axes:
    """The axes of a study. is_measured: whether some model of it has a number of a metric.

    What a benchmark cannot measure at all is left out, but for levels, whose absence is told. A study of which one
    side alone is measured is of the first kind that has it; one of which nothing is, of the first kind.
    """

    def measured(measures: Iterable[Measure]) -> list[Measure]:
        return [measure for measure in measures if is_measured(measure.metric)]

    def lowered(measures: Iterable[Measure]) -> list[Measure]:
        return [measure for measure in measured(measures) if measure.aim == "low"]

    both = (axes for axes in KINDS if measured(axes.utility) and measured(axes.forgetting))
    kept = (axes for axes in KINDS if measured(axes.utility))
    forgotten = (axes for axes in KINDS if lowered(axes.forgetting))
    kind = next(chain(both, kept, forgotten), KINDS[0])

    def chosen(measures: Sequence[Measure]) -> tuple[Measure, ...]:
        found = [each for each in measures if each.aim == "level" or is_measured(each.metric)]
        return tuple(found or measures)

    return replace(kind, forgetting=chosen(kind.forgetting), utility=chosen(kind.utility))
