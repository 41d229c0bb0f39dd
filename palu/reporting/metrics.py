"""The metrics that the page shows next to those that a study is judged by, by the table that shows them."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from palu import tables
from palu.reporting.aims import ATTACKS, DOCUMENTS_GONE, GONE, KEPT, LANGUAGE, NEIGHBOURS, NOTICED, P_VALUE, STATISTIC
from palu.reporting.collect import TRUTH_RATIO, Study


@dataclass(frozen=True)
class Metric:
    """A metric's name and its heading."""

    name: str
    title: str


JUDGED = tuple(
    Metric(each.metric, each.title)
    for each in chain(GONE, DOCUMENTS_GONE, LANGUAGE, *KEPT, NEIGHBOURS, NOTICED, ATTACKS)
)
COMPONENTS = tuple(
    Metric(f"{part}_{kind}", f"{title} {kind_title}")
    for part, title in (("retain", "Retain"), ("real_authors", "Real authors"), ("world_facts", "World facts"))
    for kind, kind_title in (("probability", "probability"), ("rouge", "ROUGE"), ("truth_ratio", "truth ratio"))
)
# What OpenUnlearning reports for MUSE, beside the benchmark's own ROUGE: among the further metrics.
STEMMED = (
    Metric("verbatim_memorization_stemmed", "Verbatim memorization, stemmed words"),
    Metric("knowledge_memorization_forget_stemmed", "Knowledge of forget set, stemmed words"),
    Metric("knowledge_memorization_retain_stemmed", "Knowledge of retain set, stemmed words"),
)
# What the generations themselves show, apart from their texts.
FLUENCY = (
    Metric("answer_nll", "Answer NLL under the original, nats"),
    Metric("retain_answer_nll", "Answer NLL under the original, retain prompts, nats"),
    Metric("repetition", "Repeated 4-grams, share"),
    Metric("empty_answers", "Empty answers, share"),
    Metric("fluency", "Fluency, by a classifier"),
    Metric("forget_ngram_entropy", "N-gram entropy, bits"),
)
TRUTH = Metric(TRUTH_RATIO, "Forget truth ratio")
# Rows that are to be forgotten and not reported: what settings are chosen by.
VALIDATION = tuple(
    Metric(f"{tables.VALIDATION}_{kind}", f"Validation {title}")
    for kind, title in (
        ("span_leak", "span leak"),
        ("initiating_probability", "initiating-token probability"),
        ("rouge", "ROUGE"),
        ("probability", "probability, whole reply"),
        ("truth_ratio", "truth ratio"),
    )
)
# What is kept, and whether it is language: the cost of forgetting
COSTS = {each.metric for each in chain(LANGUAGE, *KEPT, NEIGHBOURS)} | {
    each.name for each in chain(FLUENCY, COMPONENTS)
}


def shown(study: Study, metrics: Iterable[Metric]) -> list[Metric]:
    """Those metrics that some model of the study has a number of; a column of reasons alone is explained elsewhere."""
    return [metric for metric in metrics if metric.name in study.measured]


def present(study: Study, metrics: Iterable[Metric]) -> list[Metric]:
    """Those metrics that some evaluation of the study speaks of, be it with a reason."""
    return [metric for metric in metrics if metric.name in study.metrics]


def further_metrics(study: Study) -> list[Metric]:
    """What the summaries hold beyond the other tables, by name; those without a title are called by it."""
    known = {metric.name for metric in (*JUDGED, *COMPONENTS, *FLUENCY, *VALIDATION)}
    titled = {metric.name: metric for metric in (*STEMMED, TRUTH)}
    names = sorted(study.metrics - known - {STATISTIC, P_VALUE})
    return [titled.get(name, Metric(name, name.replace("_", " "))) for name in names]
