"""The figures: forgetting against utility, what happens over the epochs, the loss terms."""

import math
from itertools import islice

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from palu.inert import visible
from palu.reporting.aims import STATISTIC
from palu.reporting.collect import Arm, Study
from palu.reporting.drawing import DASHES, INK, PALETTE, TITLES, Drawing, Look, legend, looks, render, say
from palu.reporting.plane import p_axis, plane
from palu.reporting.quality import Qualities


def draw_all(study: Study, quality: Qualities) -> list[Drawing]:
    """Every figure of the report; one without data says so, so that the files are always the same three."""
    return [plane(study, quality), trajectories(study, quality), losses(study)]


TRAJECTORIES = (
    "span_leak",
    "first_word_probability",
    "forget_rouge",
    "forget_probability",
    "model_utility",
    STATISTIC,
    "verbatim_memorization",
    "knowledge_memorization_forget",
    "knowledge_memorization_retain",
    "retain_probability",
    "retain_rouge",
)
# These are parts of model utility, and stand for it where a benchmark measures no more.
STAND_INS = ("retain_probability", "retain_rouge")


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


def trajectories(study: Study, quality: Qualities) -> Drawing:
    """What each method does to the model from epoch to epoch."""
    title = "Over the epochs"
    curves = {
        metric: {arm.name: points for arm in study.arms if len(points := curve(study, arm, metric)) > 1}
        for metric in TRAJECTORIES
    }
    judged = {measure.metric for measure in study.aims.targets}
    known = [metric for metric in TRAJECTORIES if metric not in STAND_INS or metric in judged]
    metrics = [metric for metric in known if curves[metric]][:6]
    if not metrics:
        text = "no epochs were evaluated"
        return Drawing("trajectories", title, text, render("trajectories", 8, 2, lambda figure: say(figure, text)))
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
            if metric == STATISTIC:
                _draw_intervals(axes, quality, {name: points[-1][0] for name, points in curves[metric].items()}, found)
            axes.set_title(TITLES[metric], loc="left")
            axes.set_xlabel("epoch")
            axes.set_ylim(bottom=0)
            if metric == STATISTIC:
                p_axis(axes, quality, "p")
        legend(figure, study)

    caption = (
        "Means over seeds; the band runs from the lowest to the highest seed. Epoch 0 is the original. "
        "The dashed line is the retain model."
    )
    if STATISTIC in metrics and quality.item_count:
        caption += (
            " Bars at the end of D are 95% bootstrap intervals over items and seeds; the right-hand scale gives the "
            "p-value of each D."
        )
    return Drawing("trajectories", title, caption, render("trajectories", 4.1 * columns, 2.9 * rows + 0.5, draw))


def _draw_curve(axes: Axes, points: list[tuple[float, list[float]]], look: Look) -> None:
    epochs = [epoch for epoch, _ in points]
    means = [sum(values) / len(values) for _, values in points]
    if any(len(values) > 1 for _, values in points):
        lows, highs = [min(values) for _, values in points], [max(values) for _, values in points]
        axes.fill_between(epochs, lows, highs, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(epochs, means, color=look.colour, marker=look.marker, linestyle=look.dashes, markersize=4.5)


def _draw_intervals(axes: Axes, quality: Qualities, ends: dict[str, float], found: dict[str, Look]) -> None:
    """The interval over items of each arm's final D, at its last epoch."""
    for name, epoch in ends.items():
        interval = quality.arms[name].interval
        if interval:
            axes.plot([epoch] * 2, list(interval), color=found[name].colour, linewidth=1.4, alpha=0.55)


def _reference_line(axes: Axes, study: Study, metric: str) -> None:
    level = study.retain.measured(metric).value if study.retain else None
    if level is not None:
        axes.axhline(level, color=INK, linestyle="--", linewidth=1.1)


# More panels than this say little; the step logs hold the rest.
LOSS_PANELS = 8


def losses(study: Study) -> Drawing:
    """The loss terms of each arm's first seed, step by step."""
    title = "Loss terms by step"
    arms = list(islice((arm for arm in study.arms if arm.first.steps), LOSS_PANELS))
    if not arms:
        text = "no steps were logged"
        return Drawing("losses", title, text, render("losses", 8, 2, lambda figure: say(figure, text)))
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
