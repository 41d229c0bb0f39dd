"""The metrics that the page knows, by the table that shows them, and those that it shows without knowing them."""

from collections.abc import Iterable
from dataclasses import dataclass

from palu import tables
from palu.reporting.collect import TRUTH_RATIO, Study
from palu.reporting.quality import P_VALUE, STATISTIC


@dataclass(frozen=True)
class Metric:
    """A metric's name, its heading, and what counts as best: `retain` (nearest to it), `high`, `low` or `none`."""

    name: str
    title: str
    goal: str


RESULTS = (
    Metric("model_utility", "Model utility", "high"),
    Metric("span_leak", "Sensitive spans said", "low"),
    Metric("span_leak_paraphrase", "Sensitive spans said, paraphrased questions", "low"),
    Metric("first_word_probability", "First-word probability", "retain"),
    Metric("forget_initiating_probability", "Initiating-token probability", "retain"),
    Metric("forget_rouge", "Forget ROUGE", "retain"),
    Metric("forget_probability", "Forget probability, whole reply", "retain"),
    Metric("extraction_strength", "Extraction strength", "retain"),
    Metric("exact_memorization", "Exact memorization", "retain"),
    Metric("forget_truth_ratio", "Forget truth ratio", "retain"),
    Metric("verbatim_memorization", "Verbatim memorization", "retain"),
    Metric("knowledge_memorization_forget", "Knowledge of forget set", "retain"),
    Metric("knowledge_memorization_retain", "Knowledge of retain set", "high"),
)
DISTANCES = (
    *(metric for metric in RESULTS if metric.goal == "retain" and metric.name != TRUTH_RATIO),
    Metric("mia_min_k", "Min-K attack", "retain"),
    # told by its items: the metric itself folds both sides into one
    Metric(TRUTH_RATIO, "Truth ratio, s/(1+s)", "retain"),
)
COMPONENTS = tuple(
    Metric(f"{part}_{kind}", f"{title} {kind_title}", "high")
    for part, title in (("retain", "Retain"), ("real_authors", "Real authors"), ("world_facts", "World facts"))
    for kind, kind_title in (("probability", "probability"), ("rouge", "ROUGE"), ("truth_ratio", "truth ratio"))
)
# The attacks' scores are high for rows that were never seen: AUC 1 tells every forget row from a held-out one.
ATTACKS = (
    Metric("mia_loss", "Loss", "retain"),
    Metric("mia_zlib", "Zlib", "retain"),
    Metric("mia_min_k", "Min-K", "retain"),
    Metric("mia_min_k_corrected", "Min-K, corrected", "retain"),
    Metric("mia_min_k_plus_plus", "Min-K++", "retain"),
    Metric("mia_min_k_plus_plus_corrected", "Min-K++, corrected", "retain"),
    Metric("mia_reference", "Reference model", "retain"),
    Metric("mia_gradnorm", "Gradient norm", "retain"),
)
# What OpenUnlearning reports for MUSE, beside the benchmark's own ROUGE: among the further metrics.
STEMMED = (
    Metric("verbatim_memorization_stemmed", "Verbatim memorization, stemmed words", "retain"),
    Metric("knowledge_memorization_forget_stemmed", "Knowledge of forget set, stemmed words", "retain"),
    Metric("knowledge_memorization_retain_stemmed", "Knowledge of retain set, stemmed words", "high"),
)
PRIVLEAK = Metric("privleak", "PrivLeak, %", "none")
# What the generations themselves show, apart from their texts.
FLUENCY = (
    Metric("answer_nll", "Answer NLL under the original, nats", "none"),
    Metric("retain_answer_nll", "Answer NLL under the original, retain prompts, nats", "none"),
    Metric("repetition", "Repeated 4-grams, share", "none"),
    Metric("empty_answers", "Empty answers, share", "none"),
    Metric("fluency", "Fluency, by a classifier", "none"),
    Metric("forget_ngram_entropy", "N-gram entropy, bits", "none"),
)
# Rows that are to be forgotten and not reported: what settings are chosen by.
VALIDATION = tuple(
    Metric(f"{tables.VALIDATION}_{kind}", f"Validation {title}", "none")
    for kind, title in (
        ("initiating_probability", "initiating-token probability"),
        ("rouge", "ROUGE"),
        ("probability", "probability, whole reply"),
        ("truth_ratio", "truth ratio"),
    )
)


def present(study: Study, metrics: Iterable[Metric]) -> list[Metric]:
    """Those metrics that some evaluation of the study speaks of, be it with a reason."""
    return [metric for metric in metrics if metric.name in study.metrics]


def further_metrics(study: Study) -> list[Metric]:
    """What the summaries hold beyond the other tables, by name; those without a title are called by it."""
    known = (*RESULTS, *DISTANCES, *COMPONENTS, *ATTACKS, PRIVLEAK, *FLUENCY, *VALIDATION)
    names = study.metrics - {metric.name for metric in known} - {STATISTIC, P_VALUE}
    titled = {metric.name: metric for metric in STEMMED}
    return [titled.get(name, Metric(name, name.replace("_", " "), "none")) for name in sorted(names)]
