"""Every metric, stated once: what computes it, what it is called, which way is better, and what a study asks of it.

To add a metric: a module with `items` and `summary` (`palu.evaluation.family`), its test, and one entry in `METRICS`.
The order of the entries is the order in which terminals and pages show the metrics. Loads nothing.

Aims of targets, each of which is met, missed or undecided (`palu.reporting.checks`):

    leak      at most LEVEL_TOLERANCE above the retain model; without one, at most LEAK_SHARE of the original's
    language  at most LEVEL_TOLERANCE above the retain model; without one, above the original
    answer    at most the upper quartile over the retain model's answers; without one, over the original's answers to
              the retain prompts
    keep      at least UTILITY_SHARE of the original's

Aims of what is no target and shown on both sides of the retain model: level, under- or over-forgotten, or undecided:

    level     within LEVEL_TOLERANCE of the retain model
    attack    the same for the AUC of an attack, where 1 is the side of a model that forgot nothing
    ratio     the retain model's level times or divided by RATIO_TOLERANCE at most
    apart     a distance D between two distributions: at most DISTANCE_TOLERANCE
    zero      percent within PRIVLEAK_TOLERANCE of 0

Sources: the measures of TOFU (arXiv 2401.06121, section 2.2), and the criteria of MUSE (arXiv 2407.06460, section 3).
Forget ROUGE is no target: a localized method keeps the words around the secret on purpose.
"""

from dataclasses import dataclass
from typing import Literal

LEVEL_TOLERANCE = 0.05
LEAK_SHARE = 0.1
UTILITY_SHARE = 0.95
ANSWER_QUANTILE = 0.75
RATIO_TOLERANCE = 2.0
DISTANCE_TOLERANCE = 0.1
# 0.05 of AUC, where the retain model's AUC is 0.5
PRIVLEAK_TOLERANCE = 10.0

Section = Literal["aggregates", "forgetting", "membership", "language", "utility", "validation"]
Aim = Literal["leak", "language", "answer", "keep", "level", "attack", "ratio", "apart", "zero"]
# level: best at the retain model's value, since both sides of it show
Better = Literal["lower", "higher", "level"]
Written = Literal["number", "p-value", "percent"]
# documents: rows without a question; rows: a user's own, which TOFU's other parts do not go with
Applies = Literal["always", "documents", "rows", "neighbours"]

# Section -> heading, in the order in which they are shown
SECTIONS: dict[Section, str] = {
    "aggregates": "The field's aggregates (1 is best)",
    "forgetting": "Forgetting",
    "membership": "Membership attacks (AUC; 0.5: forget rows look like held-out rows)",
    "language": "Language of the answers",
    "utility": "Utility",
    "validation": "Validation rows, which choose settings",
}


@dataclass(frozen=True)
class Metric:
    """One number of summary.json.

    module: in `palu.evaluation`, computes it. aim: what a study asks of it; None where it is only shown. short: a name
    for narrow tables. applies: to which studies a target applies. count: the item metric that says how often an item
    counts in the mean. is_share: most of its items are 0 or 1, so that items that are all equal do not say that every
    item is. needs_retain: a retain model is what it lacks in a study without one. without: why the summary leaves it
    out where its input was not given; empty where it is never left out.
    """

    name: str
    module: str
    title: str
    section: Section
    better: Better
    aim: Aim | None = None
    short: str = ""
    written: Written = "number"
    applies: Applies = "always"
    count: str = ""
    is_share: bool = False
    needs_retain: bool = False
    without: str = ""


METRICS: dict[str, Metric] = {
    each.name: each
    for each in (
        Metric("memorization", "aggregates", "Memorization", "aggregates", "higher"),
        Metric("privacy", "aggregates", "Privacy", "aggregates", "higher"),
        Metric("utility", "aggregates", "Utility, relative", "aggregates", "higher"),
        Metric("overall", "aggregates", "Overall", "aggregates", "higher"),
        Metric("span_leak", "span_leak", "Span leak", "forgetting", "lower", aim="leak", short="leak",
               count="span_count", is_share=True),
        Metric("span_leak_paraphrase", "span_leak", "Span leak, paraphrased questions", "forgetting", "lower",
               aim="leak", short="paraphrased", count="span_count_paraphrase", is_share=True),
        Metric("verbatim_memorization", "verbatim", "Verbatim memorization", "forgetting", "lower", aim="leak",
               short="verbatim", without="the benchmark has no part verbmem", applies="documents"),
        Metric("knowledge_memorization_forget", "knowledge", "Knowledge of forget set", "forgetting", "lower",
               aim="leak", short="knowledge", without="the benchmark has no part knowmem_forget", applies="documents"),
        Metric("forget_quality", "forget_quality", "Forget quality p", "forgetting", "higher", short="p",
               written="p-value", needs_retain=True),
        Metric("forget_quality_statistic", "forget_quality", "KS statistic D", "forgetting", "lower", aim="apart",
               short="KS D", needs_retain=True),
        Metric("forget_quality_statistic_low", "forget_quality", "KS statistic D, interval's low end", "forgetting",
               "lower"),
        Metric("forget_quality_statistic_high", "forget_quality", "KS statistic D, interval's high end", "forgetting",
               "lower"),
        Metric("first_word_probability", "first_word", "First-word probability", "forgetting", "level", aim="ratio",
               short="first word"),
        Metric("extraction_strength", "memorization", "Extraction strength", "forgetting", "level", aim="level"),
        Metric("extraction_strength_corrected", "memorization", "Extraction strength, corrected", "forgetting",
               "level"),
        Metric("exact_memorization", "memorization", "Exact memorization", "forgetting", "level", aim="level"),
        Metric("exact_memorization_corrected", "memorization", "Exact memorization, corrected", "forgetting", "level"),
        Metric("forget_probability", "probability", "Forget probability, whole reply", "forgetting", "level",
               aim="level"),
        Metric("forget_rouge", "rouge", "Forget ROUGE", "forgetting", "level", aim="level"),
        Metric("forget_initiating_probability", "probability", "Initiating-token probability", "forgetting", "level",
               aim="level", without="no spans were given"),
        Metric("forget_truth_ratio", "truth_ratio", "Forget truth ratio", "forgetting", "level"),
        Metric("forget_truth_ratio_prob_mean", "truth_ratio", "Forget truth ratio, of mean probabilities",
               "forgetting", "level"),
        Metric("forget_paraphrase_probability", "aggregates", "Probability of paraphrased replies", "forgetting",
               "level"),
        Metric("forget_paraphrased_question_probability", "probability", "Forget probability, paraphrased questions",
               "forgetting", "level", without="the paraphrased questions were not given to the model"),
        Metric("forget_paraphrased_question_rouge", "rouge", "Forget ROUGE, paraphrased questions", "forgetting",
               "level", without="the paraphrased questions were not asked"),
        Metric("verbatim_memorization_stemmed", "verbatim", "Verbatim memorization, stemmed words", "forgetting",
               "lower", without="the benchmark has no part verbmem"),
        Metric("knowledge_memorization_forget_stemmed", "knowledge", "Knowledge of forget set, stemmed words",
               "forgetting", "lower", without="the benchmark has no part knowmem_forget"),
        Metric("mia_loss", "membership", "Loss", "membership", "level", aim="attack"),
        Metric("mia_zlib", "membership", "Zlib", "membership", "level", aim="attack"),
        Metric("mia_min_k", "membership", "Min-K", "membership", "level", aim="attack"),
        Metric("mia_min_k_corrected", "membership", "Min-K, corrected", "membership", "level", aim="attack"),
        Metric("mia_min_k_plus_plus", "membership", "Min-K++", "membership", "level", aim="attack"),
        Metric("mia_min_k_plus_plus_corrected", "membership", "Min-K++, corrected", "membership", "level",
               aim="attack"),
        Metric("mia_reference", "membership", "Reference model", "membership", "level", aim="attack"),
        Metric("mia_gradnorm", "membership", "Gradient norm", "membership", "level", aim="attack"),
        Metric("privleak", "membership", "PrivLeak, %", "membership", "level", aim="zero", written="percent",
               needs_retain=True),
        Metric("repetition", "fluency", "Repeated 4-grams", "language", "lower", aim="language", short="repeated",
               is_share=True),
        Metric("empty_answers", "fluency", "Empty answers", "language", "lower", aim="language", short="empty",
               is_share=True),
        Metric("answer_nll", "answers", "Answer NLL", "language", "lower", aim="answer", short="answer NLL"),
        Metric("retain_answer_nll", "answers", "Answer NLL, retain prompts", "language", "lower"),
        Metric("fluency", "fluency", "Fluency, by a classifier", "language", "higher"),
        Metric("forget_ngram_entropy", "fluency", "N-gram entropy, bits", "language", "higher"),
        Metric("model_utility", "utility", "Model utility", "utility", "higher", aim="keep", short="utility"),
        Metric("knowledge_memorization_retain", "knowledge", "Knowledge of retain set", "utility", "higher",
               aim="keep", short="retained", without="the benchmark has no part knowmem_retain", applies="documents"),
        Metric("retain_probability", "probability", "Retain probability", "utility", "higher", aim="keep",
               short="retain probability", applies="rows"),
        Metric("retain_rouge", "rouge", "Retain ROUGE", "utility", "higher", aim="keep", short="retain ROUGE",
               applies="rows"),
        Metric("near_accuracy", "neighbours", "Near neighbours answered", "utility", "higher", aim="keep",
               short="near", is_share=True, without="the benchmark has no part near", applies="neighbours"),
        Metric("far_accuracy", "neighbours", "Far neighbours answered", "utility", "higher", aim="keep", short="far",
               is_share=True, without="the benchmark has no part far", applies="neighbours"),
        Metric("retain_truth_ratio", "truth_ratio", "Retain truth ratio", "utility", "higher"),
        Metric("real_authors_probability", "probability", "Real authors probability", "utility", "higher"),
        Metric("real_authors_rouge", "rouge", "Real authors ROUGE", "utility", "higher"),
        Metric("real_authors_truth_ratio", "truth_ratio", "Real authors truth ratio", "utility", "higher"),
        Metric("world_facts_probability", "probability", "World facts probability", "utility", "higher"),
        Metric("world_facts_rouge", "rouge", "World facts ROUGE", "utility", "higher"),
        Metric("world_facts_truth_ratio", "truth_ratio", "World facts truth ratio", "utility", "higher"),
        Metric("model_utility_component_count", "utility", "Components of model utility, count", "utility", "higher"),
        Metric("knowledge_memorization_retain_stemmed", "knowledge", "Knowledge of retain set, stemmed words",
               "utility", "higher", without="the benchmark has no part knowmem_retain"),
        Metric("validation_span_leak", "span_leak", "Validation span leak", "validation", "lower",
               without="the benchmark has no part validation", count="validation_span_count"),
        Metric("validation_initiating_probability", "probability", "Validation initiating-token probability",
               "validation", "level", without="no spans were given, or the benchmark has no part validation"),
        Metric("validation_rouge", "rouge", "Validation ROUGE", "validation", "level",
               without="the benchmark has no part validation"),
        Metric("validation_probability", "probability", "Validation probability, whole reply", "validation", "level",
               without="the benchmark has no part validation"),
        Metric("validation_truth_ratio", "truth_ratio", "Validation truth ratio", "validation", "level",
               without="the benchmark has no part validation"),
    )
}  # fmt: skip
