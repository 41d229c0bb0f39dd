"""The figures: forgetting against utility, what happens over the epochs, the loss terms."""

import math
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from palu.reporting.cells import p_text
from palu.reporting.collect import Arm, Evaluation, Study
from palu.reporting.drawing import DASHES, INK, LEGEND_LIMIT, PALETTE, PAPER, SOFT, Drawing, Look, looks, render
from palu.reporting.inert import visible
from palu.reporting.quality import STATISTIC, Qualities
from palu.reporting.statistics import ks_p_value


def draw_all(study: Study, quality: Qualities) -> list[Drawing]:
    """Every figure of the report; one without data says so, so that the files are always the same three."""
    return [plane(study, quality), trajectories(study), losses(study)]


def _say(figure: Figure, text: str) -> None:
    figure.text(0.5, 0.5, text, ha="center", va="center", color=SOFT)


# The first pair of which some model has both stands for forgetting (y) against what is kept (x).
PLANES = (
    (STATISTIC, "model_utility"),
    ("forget_probability", "model_utility"),
    ("knowledge_memorization_forget", "knowledge_memorization_retain"),
)
TITLES = {
    STATISTIC: "KS statistic D to the retain model",
    "model_utility": "Model utility",
    "forget_probability": "Forget probability, whole reply",
    "forget_initiating_probability": "Initiating-token probability",
    "forget_rouge": "Forget ROUGE-L recall",
    "knowledge_memorization_forget": "Knowledge of the forget set (ROUGE)",
    "knowledge_memorization_retain": "Knowledge of the retain set (ROUGE)",
    "verbatim_memorization": "Verbatim memorization (ROUGE)",
}


def _point(evaluation: Evaluation, x: str, y: str) -> tuple[float, float] | None:
    across, up = evaluation.measured(x).value, evaluation.measured(y).value
    return (across, up) if across is not None and up is not None else None


def plane(study: Study, quality: Qualities) -> Drawing:
    """Forgetting against utility: one small mark per seed, a large one for the mean, the references beside them."""
    title = "Forgetting against utility"
    pair = next((pair for pair in PLANES if any(_point(run.evaluation, pair[1], pair[0]) for run in study.runs)), None)
    if pair is None:
        text = "no model has a pair of measures to draw"
        return Drawing("plane", title, text, render("plane", 8, 2, lambda figure: _say(figure, text)))
    up, across = pair

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_arms(axes, study, quality, across, up)
        _draw_references(axes, study, across, up)
        axes.set_xlabel(f"{TITLES[across]} (kept: further right)")
        axes.set_ylabel(f"{TITLES[up]} (forgotten: further up)")
        axes.margins(0.12, 0.12)
        low, high = axes.get_ylim()
        axes.set_ylim(high, min(low, 0.0) if up == STATISTIC else low)
        if up == STATISTIC:
            _p_axis(axes, quality)
        _legend(figure, study)

    caption = (
        "Large marks are means over seeds, small ones single seeds. Best is the upper right corner, near the retain "
        "model. The dotted line is 95% of the original's utility."
    )
    if up == STATISTIC:
        caption += " Bars are 95% bootstrap intervals over items; the right-hand scale gives the p-value of each D."
    return Drawing("plane", title, caption, render("plane", 8.6, 5.2, draw))


# Where an arm's name stands beside its mark, in points: neighbours in the legend take different corners.
CORNERS: tuple[tuple[tuple[int, int], Literal["left", "right"]], ...] = (
    ((9, 7), "left"),
    ((-9, -15), "right"),
    ((9, -15), "left"),
    ((-9, 7), "right"),
)


def _draw_arms(axes: Axes, study: Study, quality: Qualities, across: str, up: str) -> None:
    found = looks(study.arms)
    for place, arm in enumerate(study.arms):
        look = found[arm.name]
        points = [point for run in arm.runs if (point := _point(run.evaluation, across, up))]
        if not points:
            continue
        x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
        interval = quality.arms[arm.name].interval if up == STATISTIC else None
        if interval:
            axes.plot([x, x], [interval.low, interval.high], color=look.colour, linewidth=1.4, alpha=0.55)
        if len(points) > 1:
            axes.plot(
                *zip(*points, strict=True),
                linestyle="none",
                marker=look.marker,
                color=look.colour,
                markersize=4,
                alpha=0.5,
            )
        hollow = look.dashes != "-"
        axes.plot(
            [x], [y], linestyle="none", marker=look.marker, markersize=10,
            color=look.colour, markerfacecolor=PAPER if hollow else look.colour, markeredgewidth=1.8,
        )  # fmt: skip
        if len({other.label for other in study.arms}) == len(study.arms) <= LEGEND_LIMIT:
            offset, side = CORNERS[place % len(CORNERS)]
            axes.annotate(
                visible(arm.name), (x, y), offset, textcoords="offset points", ha=side, fontsize=9, color=look.colour
            )


def _draw_references(axes: Axes, study: Study, across: str, up: str) -> None:
    utility = study.original.measured(across).value
    if utility is not None and across == "model_utility":
        axes.axvline(0.95 * utility, color=SOFT, linestyle=":", linewidth=1.2)
    for (name, evaluation), marker in zip(study.models, ("X", "*"), strict=False):
        x, y = evaluation.measured(across).value, evaluation.measured(up).value
        if y is None and evaluation is study.retain and up == STATISTIC:
            y = 0.0  # the retain model's distance to itself
        if x is not None and y is not None:
            axes.plot([x], [y], linestyle="none", marker=marker, markersize=13 if marker == "*" else 9, color=INK)
            axes.annotate(name, (x, y), (9, -13), textcoords="offset points", fontsize=9, color=INK)


def _p_axis(axes: Axes, quality: Qualities) -> None:
    """A right-hand scale: the p-value of the attainable D nearest to each tick."""
    counts = next((its.item_counts for its in quality.arms.values() if its.item_counts), None)
    if counts is None or counts[0] != counts[1]:
        return
    high, low = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high and 0 <= tick <= 1]
    multiples = [round(tick * counts[0]) for tick in ticks]
    pairs = {multiple / counts[0]: ks_p_value(multiple, *counts) for multiple in multiples}
    side = axes.twinx()
    side.set_ylim(high, low)
    side.grid(visible=False)
    side.set_yticks(list(pairs), [p_text(p) if p is not None else "" for p in pairs.values()])
    side.set_ylabel(f"forget quality p ({counts[0]} items)")


def _legend(figure: Figure, study: Study) -> None:
    """One entry per arm, or per method where there are too many arms to read."""
    found = looks(study.arms)
    if len(study.arms) <= LEGEND_LIMIT:
        entries = {arm.name: found[arm.name] for arm in study.arms}
    else:
        entries = {}
        for arm in study.arms:
            entries.setdefault(arm.label, found[arm.name])
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.dashes, label=visible(name))
        for name, look in entries.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))


TRAJECTORIES = (
    "forget_initiating_probability",
    "forget_rouge",
    "forget_probability",
    "model_utility",
    STATISTIC,
    "verbatim_memorization",
    "knowledge_memorization_forget",
    "knowledge_memorization_retain",
)


def _final_epoch(arm: Arm) -> float | None:
    epochs = arm.first.entry.training.get("epochs")
    return float(epochs) if isinstance(epochs, int | float) and not isinstance(epochs, bool) else None


def curve(study: Study, arm: Arm, metric: str) -> list[tuple[float, list[float]]]:
    """(epoch, the seeds' values) from the original at 0 to the end of training."""
    points: dict[float, list[float]] = {}
    before = study.original.measured(metric).value
    if before is not None:
        points[0.0] = [before]
    last = _final_epoch(arm)
    for run in arm.runs:
        shots = list(run.trajectory)
        if last is not None and last not in [epoch for epoch, _ in shots]:
            shots.append((last, run.evaluation))
        for epoch, evaluation in shots:
            value = evaluation.measured(metric).value
            if value is not None:
                points.setdefault(epoch, []).append(value)
    return sorted(points.items())


def trajectories(study: Study) -> Drawing:
    """What each method does to the model from epoch to epoch."""
    title = "Over the epochs"
    curves = {
        metric: {arm.name: points for arm in study.arms if len(points := curve(study, arm, metric)) > 1}
        for metric in TRAJECTORIES
    }
    metrics = [metric for metric in TRAJECTORIES if curves[metric]][:6]
    if not metrics:
        text = "no epochs were evaluated"
        return Drawing("trajectories", title, text, render("trajectories", 8, 2, lambda figure: _say(figure, text)))
    columns = 2 if len(metrics) in (2, 4) else min(3, len(metrics))
    rows = -(-len(metrics) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        found = looks(study.arms)
        for place, axes in enumerate(grid.flat):
            if place >= len(metrics):
                axes.set_axis_off()
                continue
            metric = metrics[place]
            for name, points in curves[metric].items():
                _draw_curve(axes, points, found[name])
            _reference_line(axes, study, metric)
            axes.set_title(TITLES[metric], loc="left")
            axes.set_xlabel("epoch")
            axes.set_ylim(bottom=0)
        _legend(figure, study)

    caption = (
        "Means over seeds; the band runs from the lowest to the highest seed. Epoch 0 is the original. "
        "The dashed line is the retain model."
    )
    return Drawing("trajectories", title, caption, render("trajectories", 4.1 * columns, 2.9 * rows + 0.5, draw))


def _draw_curve(axes: Axes, points: list[tuple[float, list[float]]], look: Look) -> None:
    epochs = [epoch for epoch, _ in points]
    means = [sum(values) / len(values) for _, values in points]
    if any(len(values) > 1 for _, values in points):
        lows, highs = [min(values) for _, values in points], [max(values) for _, values in points]
        axes.fill_between(epochs, lows, highs, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(epochs, means, color=look.colour, marker=look.marker, linestyle=look.dashes, markersize=4.5)


def _reference_line(axes: Axes, study: Study, metric: str) -> None:
    level = study.retain.measured(metric).value if study.retain else None
    if level is not None:
        axes.axhline(level, color=INK, linestyle="--", linewidth=1.1)


# More panels than this say little; the step logs hold the rest.
LOSS_PANELS = 8


def losses(study: Study) -> Drawing:
    """The loss terms of each arm's first seed, step by step."""
    title = "Loss terms by step"
    arms = [arm for arm in study.arms if arm.first.steps][:LOSS_PANELS]
    if not arms:
        text = "no steps were logged"
        return Drawing("losses", title, text, render("losses", 8, 2, lambda figure: _say(figure, text)))
    columns = min(3, len(arms))
    rows = -(-len(arms) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(arms):
                _draw_terms(axes, arms[place])
            else:
                axes.set_axis_off()

    caption = (
        "First seed of each. The line named loss is the weighted sum that is minimised, the terms are plain means; "
        "logarithmic where all values are positive."
    )
    if len(arms) < len(study.arms):
        caption += f" The first {len(arms)} of {len(study.arms)} are drawn."
    return Drawing("losses", title, caption, render("losses", 4.1 * columns, 3.0 * rows, draw))


def _draw_terms(axes: Axes, arm: Arm) -> None:
    terms: dict[str, list[tuple[int, float]]] = {}
    for row in arm.first.steps:
        if math.isfinite(row["value"]):  # a step without a unit of a term has no mean of it
            terms.setdefault(row["term"], []).append((row["step"], row["value"]))
    others = [term for term in sorted(terms) if term != "loss"]
    for place, term in enumerate(others):
        points = sorted(terms[term])
        colour, dashes = PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)]
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1.4, label=visible(term))
    if "loss" in terms:
        axes.plot(*zip(*sorted(terms["loss"]), strict=True), color=INK, linewidth=1.4, label="loss")
    if all(value > 0 for points in terms.values() for _, value in points):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(visible(arm.name), loc="left")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss (nats or squared logits)")
    axes.legend(fontsize=8)
