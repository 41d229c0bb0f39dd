"""A model's summary as a person reads it in a terminal."""

from palu.evaluation.score import Scored

# What comes first, in this order, under its heading; all other metrics follow by name
SECTIONS = {
    "The field's aggregates (1 is best)": ("memorization", "privacy", "utility", "overall"),
    "Forgetting": (
        "span_leak",
        "span_leak_paraphrase",
        "forget_quality",
        "first_word_probability",
        "forget_probability",
        "forget_initiating_probability",
        "forget_rouge",
        "forget_truth_ratio",
        "verbatim_memorization",
        "knowledge_memorization_forget",
        "exact_memorization",
        "extraction_strength",
    ),
    "Membership (0.5: forget rows cannot be told from held-out ones)": (
        "mia_loss",
        "mia_zlib",
        "mia_min_k",
        "mia_min_k_plus_plus",
        "mia_reference",
        "mia_gradnorm",
        "privleak",
    ),
    "Fluency": (
        "answer_nll",
        "retain_answer_nll",
        "repetition",
        "empty_answers",
        "fluency",
        "forget_ngram_entropy",
    ),
    "Utility": (
        "model_utility",
        "near_accuracy",
        "far_accuracy",
        "knowledge_memorization_retain",
        *(
            f"{part}_{measure}"
            for part in ("retain", "real_authors", "world_facts")
            for measure in ("probability", "rouge", "truth_ratio")
        ),
    ),
}


def summary_text(scored: Scored) -> str:
    """Each metric with its value in a line, or why it has none; forget quality with all that belongs to it."""
    lines = []
    told: set[str] = set()
    summary, reasons = scored.summary, scored.reasons
    for title, names in SECTIONS.items():
        own = [name for name in names if name in summary]
        told.update(own)
        lines += [title, *(_line(name, summary, reasons, scored.forget_quality) for name in own)] if own else []
    others = [name for name in sorted(summary) if name not in told and not name.startswith("forget_quality_")]
    lines += ["Further", *(_line(name, summary, reasons, None) for name in others)] if others else []
    lines += [f"Remark: {scored.remark}"] if scored.remark else []
    return "\n".join(lines)


def _line(name: str, summary: dict[str, float | None], reasons: dict[str, str], quality: str | None) -> str:
    value = summary[name]
    if value is None:
        text = f"null: {reasons[name]}"
    elif name == "forget_quality" and quality is not None:
        text = quality
    else:
        text = f"{value:.4f}" if abs(value) >= 1e-4 or value == 0 else f"{value:.3e}"
    return f"  {name:<40} {text}"
