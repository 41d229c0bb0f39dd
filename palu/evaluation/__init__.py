"""What a finished model knows: its generations and log-probabilities, and the metrics that read them.

The model part (`infer`) writes two tables; the arithmetic part (`score`) reads them and loads no torch, so that a
corrected metric never needs the model again. `METRICS`: name in summary.json -> the module that computes it.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from palu.settings import unknown

METRICS = {
    "answer_nll": "palu.evaluation.answers",
    "empty_answers": "palu.evaluation.fluency",
    "exact_memorization": "palu.evaluation.memorization",
    "exact_memorization_corrected": "palu.evaluation.memorization",
    "extraction_strength": "palu.evaluation.memorization",
    "extraction_strength_corrected": "palu.evaluation.memorization",
    "far_accuracy": "palu.evaluation.neighbours",
    "first_word_probability": "palu.evaluation.first_word",
    "fluency": "palu.evaluation.fluency",
    "forget_initiating_probability": "palu.evaluation.probability",
    "forget_ngram_entropy": "palu.evaluation.fluency",
    "forget_paraphrase_probability": "palu.evaluation.aggregates",
    "forget_paraphrased_question_probability": "palu.evaluation.probability",
    "forget_paraphrased_question_rouge": "palu.evaluation.rouge",
    "forget_probability": "palu.evaluation.probability",
    "forget_quality": "palu.evaluation.forget_quality",
    "forget_quality_statistic": "palu.evaluation.forget_quality",
    "forget_quality_statistic_high": "palu.evaluation.forget_quality",
    "forget_quality_statistic_low": "palu.evaluation.forget_quality",
    "forget_rouge": "palu.evaluation.rouge",
    "forget_truth_ratio": "palu.evaluation.truth_ratio",
    "forget_truth_ratio_prob_mean": "palu.evaluation.truth_ratio",
    "knowledge_memorization_forget": "palu.evaluation.knowledge",
    "knowledge_memorization_forget_stemmed": "palu.evaluation.knowledge",
    "knowledge_memorization_retain": "palu.evaluation.knowledge",
    "knowledge_memorization_retain_stemmed": "palu.evaluation.knowledge",
    "memorization": "palu.evaluation.aggregates",
    "mia_gradnorm": "palu.evaluation.membership",
    "mia_loss": "palu.evaluation.membership",
    "mia_min_k": "palu.evaluation.membership",
    "mia_min_k_corrected": "palu.evaluation.membership",
    "mia_min_k_plus_plus": "palu.evaluation.membership",
    "mia_min_k_plus_plus_corrected": "palu.evaluation.membership",
    "mia_reference": "palu.evaluation.membership",
    "mia_zlib": "palu.evaluation.membership",
    "model_utility": "palu.evaluation.utility",
    "model_utility_component_count": "palu.evaluation.utility",
    "near_accuracy": "palu.evaluation.neighbours",
    "overall": "palu.evaluation.aggregates",
    "privacy": "palu.evaluation.aggregates",
    "privleak": "palu.evaluation.membership",
    "real_authors_probability": "palu.evaluation.probability",
    "real_authors_rouge": "palu.evaluation.rouge",
    "real_authors_truth_ratio": "palu.evaluation.truth_ratio",
    "repetition": "palu.evaluation.fluency",
    "retain_answer_nll": "palu.evaluation.answers",
    "retain_probability": "palu.evaluation.probability",
    "retain_rouge": "palu.evaluation.rouge",
    "retain_truth_ratio": "palu.evaluation.truth_ratio",
    "span_leak": "palu.evaluation.span_leak",
    "span_leak_paraphrase": "palu.evaluation.span_leak",
    "utility": "palu.evaluation.aggregates",
    "validation_initiating_probability": "palu.evaluation.probability",
    "validation_probability": "palu.evaluation.probability",
    "validation_rouge": "palu.evaluation.rouge",
    "validation_span_leak": "palu.evaluation.span_leak",
    "validation_truth_ratio": "palu.evaluation.truth_ratio",
    "verbatim_memorization": "palu.evaluation.verbatim",
    "verbatim_memorization_stemmed": "palu.evaluation.verbatim",
    "world_facts_probability": "palu.evaluation.probability",
    "world_facts_rouge": "palu.evaluation.rouge",
    "world_facts_truth_ratio": "palu.evaluation.truth_ratio",
}


def load(name: str, place: str = "metric") -> ModuleType:
    """The module that computes metric `name`, a `palu.evaluation.family.Family`.

    Raises UserError naming the place and the known metrics.
    """
    if name not in METRICS:
        raise unknown("metric", name, place, METRICS)
    return importlib.import_module(METRICS[name])
