"""A model's summary as a person reads it in a terminal."""

from palu.evaluation.metrics import METRICS, SECTIONS
from palu.evaluation.score import Scored


def summary_text(scored: Scored) -> str:
    """Each metric with its value in a line, or why it has none; forget quality with all that belongs to it."""
    blocks: dict[str, list[str]] = {heading: [] for heading in (*SECTIONS.values(), "Further")}
    order = {name: place for place, name in enumerate(METRICS)}
    for name in sorted(scored.summary, key=lambda name: (order.get(name, len(order)), name)):
        # the line of forget quality says D and its interval too
        if not name.startswith("forget_quality_"):
            heading = SECTIONS[METRICS[name].section] if name in METRICS else "Further"
            blocks[heading].append(_line(name, scored))
    lines = [line for heading, own in blocks.items() if own for line in (heading, *own)]
    return "\n".join([*lines, *([f"Remark: {scored.remark}"] if scored.remark else [])])


def _line(name: str, scored: Scored) -> str:
    value = scored.summary[name]
    if value is None:
        text = f"null: {scored.reasons[name]}"
    elif name == "forget_quality" and scored.forget_quality is not None:
        text = scored.forget_quality
    else:
        text = f"{value:.4f}" if abs(value) >= 1e-4 or value == 0 else f"{value:.3e}"
    return f"  {name:<40} {text}"
