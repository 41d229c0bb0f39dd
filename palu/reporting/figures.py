"""The figures: forgetting against what is kept, what happens over the epochs, the loss terms."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from palu.evaluation.metrics import UTILITY_SHARE
from palu.inert import visible
from palu.reporting.drawing import (
    DASHES,
    INK,
    LEGEND_LIMIT,
    PALETTE,
    PAPER,
    SOFT,
    Drawing,
    Look,
    legend,
    looks,
    render,
    say,
)
from palu.reporting.load import Arm, Evaluation, Study
from palu.reporting.tables import metric_of
from palu.reporting.verdict import Judged

# More panels than these say little; the step logs and evaluations hold the rest
CURVES, LOSS_PANELS = 6, 8
# Where an arm's name is next to its mark, in points: neighbours in the legend take different corners
CORNERS = ((9, 7), (-9, -7), (9, -7), (-9, 7))


def draw_all(study: Study, verdicts: Sequence[Judged]) -> list[Drawing]:
    """Every figure of the report; one without data says so, so that the files are always the same three."""
    return [plane(study, verdicts), trajectories(study), losses(study)]


def _point(evaluation: Evaluation, x: str, y: str) -> tuple[float, float] | None:
    across, up = evaluation.measured(x).value, evaluation.measured(y).value
    return (across, up) if across is not None and up is not None else None


def plane(study: Study, verdicts: Sequence[Judged]) -> Drawing:
    """Forgetting against what is kept: a small mark per seed, a large one for the mean with the intervals of both.

    Of each question the first target is drawn that some run has both numbers of; of forgetting what is only shown
    where no target was measured.
    """
    title = "Forgetting against utility"
    left = [metric.name for metric in (*study.targets.gone, *study.targets.shown)]
    pairs = ((metric.name, up) for up in left for metric in study.targets.kept)
    pair = next((each for each in pairs if any(_point(run.evaluation, *each) for run in study.runs)), None)
    if pair is None:
        text = "no model has a pair of measures to draw"
        return Drawing("plane", title, text, render("plane", 8, 2, lambda figure: say(figure, text)))
    across, up = pair
    is_grid = any(arm.varied for arm in study.arms)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, verdict in enumerate(verdicts):
            _draw_arm(axes, study, verdict, pair, CORNERS[place % len(CORNERS)])
        if is_grid:
            _draw_fronts(axes, study, pair)
        _draw_references(axes, study, pair)
        axes.set_xlabel(f"{metric_of(across).title} (kept: further right)")
        axes.set_ylabel(f"{metric_of(up).title} (forgotten: further up)")
        axes.margins(0.12, 0.12)
        axes.invert_yaxis()
        legend(figure, study)

    near = ", near the retain model" if study.retain else ""
    caption = (
        f"Large marks are means over seeds with 95% intervals over items and seeds, small marks single seeds. Best is "
        f"the upper right corner{near}. The dotted line is {UTILITY_SHARE:.0%} of the original's "
        f"{metric_of(across).title.lower()}."
    )
    if is_grid:
        caption += " A line joins the settings of a method than which no other of its settings forgets and keeps more."
    return Drawing("plane", title, caption, render("plane", 8.6, 4.6, draw))


def _points(arm: Arm, pair: tuple[str, str]) -> list[tuple[float, float]]:
    """Where the arm's seeds are, of those that have both numbers."""
    return [point for run in arm.runs if (point := _point(run.evaluation, *pair))]


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return x, y


def _draw_arm(axes: Axes, study: Study, verdict: Judged, pair: tuple[str, str], corner: tuple[float, float]) -> None:
    points, look = _points(verdict.arm, pair), looks(study.arms)[verdict.arm.name]
    if not points:
        return
    x, y = _mean(points)
    for name, is_across in zip(pair, (True, False), strict=True):
        its = verdict.of(name)
        if its is not None and its.low is not None and its.high is not None:
            ends = ([its.low, its.high], [y, y]) if is_across else ([x, x], [its.low, its.high])
            axes.plot(*ends, color=look.colour, linewidth=1.4, alpha=0.55)
    style: dict[str, Any] = {"linestyle": "none", "marker": look.marker, "color": look.colour}
    if len(points) > 1:
        axes.plot(*zip(*points, strict=True), markersize=4, alpha=0.5, **style)
    face = look.colour if look.dashes == "-" else PAPER
    axes.plot([x], [y], markersize=10, markerfacecolor=face, markeredgewidth=1.8, **style)
    # names are next to the marks where arms are few, and no two are settings of one label
    if len({arm.label for arm in study.arms}) == len(study.arms) <= LEGEND_LIMIT:
        side, height = "left" if corner[0] > 0 else "right", "bottom" if corner[1] > 0 else "top"
        text: dict[str, Any] = {"ha": side, "va": height, "fontsize": 9, "color": look.colour}
        axes.annotate(visible(verdict.arm.name), (x, y), corner, textcoords="offset points", **text)


def _draw_fronts(axes: Axes, study: Study, pair: tuple[str, str]) -> None:
    found = looks(study.arms)
    for method in dict.fromkeys(arm.method for arm in study.arms):
        arms = [arm for arm in study.arms if arm.method == method]
        line = front([_mean(points) for arm in arms if (points := _points(arm, pair))])
        if len(line) > 1:
            axes.plot(*zip(*line, strict=True), color=found[arms[0].name].colour, linewidth=1.2, alpha=0.7)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (kept, left), those than which no other keeps more and leaves less, by what they keep."""
    best: list[tuple[float, float]] = []
    for kept, left in sorted(points, key=lambda point: (-point[0], point[1])):
        if not best or left < best[-1][1]:
            best.append((kept, left))
    return best[::-1]


def _draw_references(axes: Axes, study: Study, pair: tuple[str, str]) -> None:
    utility = study.original.measured(pair[0]).value
    if utility is not None:
        axes.axvline(UTILITY_SHARE * utility, color=SOFT, linestyle=":", linewidth=1.2)
    for (name, evaluation), marker in zip(study.models, ("X", "*"), strict=False):
        if point := _point(evaluation, *pair):
            axes.plot(*zip(point, strict=True), linestyle="none", marker=marker, markersize=11, color=INK)
            axes.annotate(name, point, (9, -13), textcoords="offset points", fontsize=9, color=INK)


def curve(study: Study, arm: Arm, metric: str) -> list[tuple[float, list[float]]]:
    """(epoch, the seeds' values) from the original at 0 to the end of training."""
    points: dict[float, list[float]] = {}
    before = study.original.measured(metric).value
    if before is not None:
        points[0.0] = [before]
    epochs = arm.first.entry.training.get("epochs")
    last = float(epochs) if isinstance(epochs, int | float) and not isinstance(epochs, bool) else None
    for run in arm.runs:
        shots = list(run.trajectory)
        if last is not None and last not in [epoch for epoch, _ in shots]:
            shots.append((last, run.evaluation))
        for epoch, evaluation in shots:
            value = evaluation.measured(metric).value
            if value is not None:
                points.setdefault(epoch, []).append(value)
    return sorted(points.items())


def _panels(figure: Figure, count: int, columns: int) -> Iterator[Axes]:
    """`count` axes in a grid; what is left of the grid stays empty."""
    for place, axes in enumerate(figure.subplots(-(-count // columns), columns, squeeze=False).flat):
        if place < count:
            yield axes
        else:
            axes.set_axis_off()


def trajectories(study: Study) -> Drawing:
    """What each method does to the model from epoch to epoch, by the first metrics that the study is judged by."""
    title = "Over the epochs"
    curves = {
        metric.name: {arm.name: points for arm in study.arms if len(points := curve(study, arm, metric.name)) > 1}
        for metric in (*study.targets.all, *study.targets.shown)
    }
    metrics = [name for name, own in curves.items() if own][:CURVES]
    if not metrics:
        text = "no epochs were evaluated"
        return Drawing("trajectories", title, text, render("trajectories", 8, 2, lambda figure: say(figure, text)))
    columns = 2 if len(metrics) in (2, 4) else min(3, len(metrics))

    def draw(figure: Figure) -> None:
        found = looks(study.arms)
        for axes, metric in zip(_panels(figure, len(metrics), columns), metrics, strict=True):
            for name, points in curves[metric].items():
                _draw_curve(axes, points, found[name])
            level = study.retain.measured(metric).value if study.retain else None
            if level is not None:
                axes.axhline(level, color=INK, linestyle="--", linewidth=1.1)
            axes.set_title(metric_of(metric).title, loc="left")
            axes.set_xlabel("epoch")
            axes.set_ylim(bottom=0)
        legend(figure, study)

    caption = (
        "Means over seeds; the band runs from the lowest to the highest seed. Epoch 0 is the original. "
        "The dashed line is the retain model."
    )
    size = 4.1 * columns, 2.9 * -(-len(metrics) // columns) + 0.5
    return Drawing("trajectories", title, caption, render("trajectories", *size, draw))


def _draw_curve(axes: Axes, points: list[tuple[float, list[float]]], look: Look) -> None:
    epochs = [epoch for epoch, _ in points]
    means = [sum(values) / len(values) for _, values in points]
    if any(len(values) > 1 for _, values in points):
        lows, highs = [min(values) for _, values in points], [max(values) for _, values in points]
        axes.fill_between(epochs, lows, highs, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(epochs, means, color=look.colour, marker=look.marker, linestyle=look.dashes, markersize=4.5)


def losses(study: Study) -> Drawing:
    """The loss terms of each arm's first seed, step by step."""
    title = "Loss terms by step"
    arms = list(islice((arm for arm in study.arms if arm.first.steps), LOSS_PANELS))
    if not arms:
        text = "no steps were logged"
        return Drawing("losses", title, text, render("losses", 8, 2, lambda figure: say(figure, text)))
    columns = min(3, len(arms))

    def draw(figure: Figure) -> None:
        for axes, arm in zip(_panels(figure, len(arms), columns), arms, strict=True):
            _draw_terms(axes, arm)

    caption = (
        "First seed of each. The line named loss is the weighted sum that is minimised, the terms are plain means; "
        "logarithmic where all values are positive."
    )
    if len(arms) < len(study.arms):
        caption += f" The first {len(arms)} of {len(study.arms)} are drawn."
    return Drawing("losses", title, caption, render("losses", 4.1 * columns, 3.0 * -(-len(arms) // columns), draw))


def _draw_terms(axes: Axes, arm: Arm) -> None:
    terms: dict[str, list[tuple[int, float]]] = {}
    for row in arm.first.steps:
        if math.isfinite(row["value"]):  # a step without a unit of a term has no mean of it
            terms.setdefault(row["term"], []).append((row["step"], row["value"]))
    for place, term in enumerate(sorted(terms.keys() - {"loss"})):
        colour, dashes = PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)]
        points = zip(*sorted(terms[term]), strict=True)
        axes.plot(*points, color=colour, linestyle=dashes, linewidth=1.4, label=visible(term))
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
