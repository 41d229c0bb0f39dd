"""What one study is judged by: which metrics of the table of metrics are its targets, and which are only shown."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from palu.evaluation.metrics import METRICS, Metric

FORGET = "forget"
STATISTIC, P_VALUE, UTILITY, LEAK = "forget_quality_statistic", "forget_quality", "model_utility", "span_leak"


def _with_aim(*aims: str, applies: str = "always") -> tuple[Metric, ...]:
    return tuple(each for each in METRICS.values() if each.aim in aims and each.applies == applies)


GONE, DOCUMENTS_GONE = _with_aim("leak"), _with_aim("leak", applies="documents")
LANGUAGE = _with_aim("language", "answer")
# A study is judged by the first of these that some model was measured by, and by its neighbours
KEPT = tuple(_with_aim("keep", applies=applies) for applies in ("always", "documents", "rows"))
NEIGHBOURS = _with_aim("keep", applies="neighbours")
SHOWN = _with_aim("apart", "ratio", "level", "attack", "zero")
COMPONENTS = tuple(
    METRICS[f"{part}_{kind}"]
    for part in ("retain", "real_authors", "world_facts")
    for kind in ("probability", "rouge", "truth_ratio")
)


@dataclass(frozen=True)
class Targets:
    """The metrics of one study: three questions with targets, and what is shown on both sides of the retain model."""

    gone: tuple[Metric, ...]
    language: tuple[Metric, ...]
    kept: tuple[Metric, ...]
    shown: tuple[Metric, ...]

    @property
    def all(self) -> tuple[Metric, ...]:
        return (*self.gone, *self.language, *self.kept)

    def on(self, part: str, is_measured: Callable[[str], bool]) -> tuple[list[Metric], list[Metric]]:
        """What is gone and whether it is language, on `part`: of `validation` what some model was measured by."""
        if part == FORGET:
            return list(self.gone), list(self.language)
        gone, language = (
            [replace(each, name=f"{part}_{each.name}") for each in own if is_measured(f"{part}_{each.name}")]
            for own in (self.gone, self.language)
        )
        return gone, language

    def kept_on(self, part: str) -> tuple[Metric, ...]:
        """What is kept, as far as it may be looked at on `part`: no setting is chosen by neighbours."""
        return tuple(metric for metric in self.kept if part == FORGET or metric not in NEIGHBOURS)


def targets_of(is_measured: Callable[[str], bool], is_of_documents: bool) -> Targets:
    """The targets of a study. is_measured: whether some model has a number of a metric; is_of_documents: no forget row
    has a question.

    A target that no model was measured by stays one, so that an old evaluation meets nothing in silence. Left out are
    the paraphrased questions and the neighbours of a benchmark without any, what is only shown, and utility where
    nothing but neighbours measures what is kept.
    """

    def measured(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        return tuple(metric for metric in metrics if is_measured(metric.name))

    gone = DOCUMENTS_GONE if measured(DOCUMENTS_GONE) or (is_of_documents and not is_measured(LEAK)) else GONE
    neighbours = measured(NEIGHBOURS)
    kept = next((each for each in KEPT if measured(each)), () if neighbours else KEPT[0])
    return Targets(
        gone=tuple(metric for metric in gone if metric is not GONE[1] or is_measured(metric.name)),
        language=LANGUAGE,
        kept=(*kept, *neighbours),
        shown=measured(SHOWN),
    )
