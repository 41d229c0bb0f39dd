"""Forgetting against utility: one mark per method, the references next to them, and how far D can be believed.

Of a grid, leak against utility, and each method's front: its settings than which none of its others leaks less and
keeps more.
"""

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palu.inert import visible
from palu.ks import ks_p_value
from palu.reporting.aims import LEAK, PLANES, STATISTIC, UTILITY_SHARE
from palu.reporting.cells import few, p_text
from palu.reporting.collect import Arm, Evaluation, Study
from palu.reporting.drawing import INK, LEGEND_LIMIT, PAPER, SOFT, TITLES, Drawing, legend, looks, render, say
from palu.reporting.quality import Qualities, Quality


def _point(evaluation: Evaluation, x: str, y: str) -> tuple[float, float] | None:
    across, up = evaluation.measured(x).value, evaluation.measured(y).value
    return (across, up) if across is not None and up is not None else None


def plane(study: Study, quality: Qualities) -> Drawing:
    """Forgetting against utility: one small mark per seed, a large one for the mean, the references beside them."""
    title = "Forgetting against utility"
    is_grid = any(arm.varied for arm in study.arms)
    # the sort is stable: of a grid, the pairs with the leak come first
    planes = sorted(PLANES, key=lambda pair: is_grid and pair[0] != LEAK)
    pair = next((pair for pair in planes if any(_point(run.evaluation, pair[1], pair[0]) for run in study.runs)), None)
    if pair is None:
        text = "no model has a pair of measures to draw"
        return Drawing("plane", title, text, render("plane", 8, 2, lambda figure: say(figure, text)))
    up, across = pair

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_arms(axes, study, quality, across, up)
        if is_grid:
            _draw_fronts(axes, study, across, up)
        _draw_references(axes, study, across, up)
        axes.set_xlabel(f"{TITLES[across]} (kept: further right)")
        axes.set_ylabel(f"{TITLES[up]} (forgotten: further up)")
        axes.margins(0.12, 0.12)
        low, high = axes.get_ylim()
        axes.set_ylim(high, min(low, 0.0) if up == STATISTIC else low)
        if up == STATISTIC:
            p_axis(axes, quality)
        legend(figure, study)

    kept = "utility" if across == "model_utility" else TITLES[across].lower()
    corner = "the upper right corner" + (", near the retain model" if study.retain else "")
    caption = (
        f"Large marks are means over seeds, small ones single seeds. Best is {corner}. The dotted line is "
        f"{UTILITY_SHARE:.0%} of the original's {kept}."
    )
    if is_grid:
        caption += " A line joins the settings of a method than which no other of its settings forgets and keeps more."
    if up == STATISTIC:
        caption += _reading(quality)
    return Drawing("plane", title, caption, render("plane", 8.6, 5.2, draw))


def _reading(quality: Qualities) -> str:
    """What the caption says of D: its interval, its scale, and which marks tell nothing apart."""
    words = " Bars are 95% bootstrap intervals over items and seeds; the right-hand scale gives the p-value of each D."
    if quality.item_count is None:
        return words
    pairs = [f"{first} and {second}" for first, second in quality.tied_pairs]
    if len(quality.arms) < 2:
        return words
    return words + (
        f" Tied, no difference in D is shown: {few(pairs)}." if pairs else " No two methods are tied in D."
    )


# Where an arm's name stands beside its mark, in points: neighbours in the legend take different corners.
CORNERS: tuple[tuple[tuple[int, int], Literal["left", "right"]], ...] = (
    ((9, 7), "left"),
    ((-9, -7), "right"),
    ((9, -7), "left"),
    ((-9, 7), "right"),
)
# With more arms than these, p-values beside the marks would cover each other; the tables hold them.
P_LABEL_LIMIT = 4


def _p_label(quality: Quality) -> str:
    """The median seed's p-value and its neighbours, under an arm's name."""
    if quality.median is None:
        return ""
    beside = [p_text(point.p_value) for point in (quality.median.smaller, quality.median.larger) if point]
    return f"\np {p_text(quality.median.here.p_value)} [{', '.join(beside)}]"


def _draw_arms(axes: Axes, study: Study, quality: Qualities, across: str, up: str) -> None:
    found = looks(study.arms)
    middle = _middle(study, across)
    for place, arm in enumerate(study.arms):
        look = found[arm.name]
        points = _points(arm, across, up)
        if not points:
            continue
        x, y = _mean(points)
        interval = quality.arms[arm.name].interval if up == STATISTIC else None
        if interval:
            axes.plot([x, x], list(interval), color=look.colour, linewidth=1.4, alpha=0.55)
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
        if _is_named(study, LEGEND_LIMIT):
            (right, up_by), side = CORNERS[place % len(CORNERS)]
            told = _p_label(quality.arms[arm.name]) if up == STATISTIC and _is_named(study, P_LABEL_LIMIT) else ""
            if told:  # a long label runs towards the middle of the figure
                right, side = (9, "left") if x < middle else (-9, "right")
            axes.annotate(
                f"{visible(arm.name)}{told}", (x, y), (right, up_by), textcoords="offset points",
                ha=side, va="bottom" if up_by > 0 else "top", fontsize=9, color=look.colour,
            )  # fmt: skip


def _draw_fronts(axes: Axes, study: Study, across: str, up: str) -> None:
    found = looks(study.arms)
    for method in dict.fromkeys(arm.method for arm in study.arms):
        arms = [arm for arm in study.arms if arm.method == method]
        line = front([_mean(points) for arm in arms if (points := _points(arm, across, up))])
        if len(line) > 1:
            axes.plot(*zip(*line, strict=True), color=found[arms[0].name].colour, linewidth=1.2, alpha=0.7)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (kept, left), those than which no other keeps more and leaves less, by what they keep."""
    best: list[tuple[float, float]] = []
    for kept, left in sorted(points, key=lambda point: (-point[0], point[1])):
        if not best or left < best[-1][1]:
            best.append((kept, left))
    return best[::-1]


def _points(arm: Arm, across: str, up: str) -> list[tuple[float, float]]:
    """Where the arm's seeds are, of those that have both numbers."""
    return [point for run in arm.runs if (point := _point(run.evaluation, across, up))]


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return x, y


def _is_named(study: Study, limit: int) -> bool:
    """Whether names stand beside the marks: where arms are few, and no two are settings of one label."""
    return len({arm.label for arm in study.arms}) == len(study.arms) <= limit


def _middle(study: Study, across: str) -> float:
    """Half way between the leftmost and the rightmost model."""
    evaluations = [*(evaluation for _, evaluation in study.models), *(run.evaluation for run in study.runs)]
    values = [value for each in evaluations if (value := each.measured(across).value) is not None]
    return (min(values) + max(values)) / 2


def _draw_references(axes: Axes, study: Study, across: str, up: str) -> None:
    utility = study.original.measured(across).value
    if utility is not None:
        axes.axvline(UTILITY_SHARE * utility, color=SOFT, linestyle=":", linewidth=1.2)
    for (name, evaluation), marker in zip(study.models, ("X", "*"), strict=False):
        x, y = evaluation.measured(across).value, evaluation.measured(up).value
        if y is None and evaluation is study.retain and up == STATISTIC:
            y = 0.0  # the retain model's distance to itself
        if x is not None and y is not None:
            axes.plot([x], [y], linestyle="none", marker=marker, markersize=13 if marker == "*" else 9, color=INK)
            axes.annotate(name, (x, y), (9, -13), textcoords="offset points", fontsize=9, color=INK)


def p_axis(axes: Axes, quality: Qualities, label: str = "forget quality p") -> None:
    """A right-hand scale: the p-value of the attainable D nearest to each tick."""
    count = quality.item_count
    if count is None:
        return
    bottom, top = axes.get_ylim()
    low, high = sorted((bottom, top))
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high and 0 <= tick <= 1]
    multiples = [round(tick * count) for tick in ticks]
    pairs = {multiple / count: ks_p_value(multiple, count, count) for multiple in multiples}
    side = axes.twinx()
    side.set_ylim(bottom, top)
    side.grid(visible=False)
    side.set_yticks(list(pairs), [p_text(p) if p is not None else "" for p in pairs.values()])
    side.set_ylabel(f"{label} ({count} items)")
