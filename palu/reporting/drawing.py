"""How every figure looks, and how one becomes SVG text: the same study gives the same bytes.

Ink, grid and paper have colours of their own that `themed` swaps for the page's variables, so that a figure follows
the reader's light or dark setting inside the page and is on white as a file of its own.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from palu.inert import visible
from palu.reporting.load import Arm, Study

Dashes = Literal["-"] | tuple[int, tuple[float, ...]]

INK, SOFT, GRID, PAPER = "#1c2026", "#59626d", "#dcdfe3", "#fefefe"
# People with any colour vision see the difference, at least 3:1 against both papers; markers and dashes repeat it.
PALETTE = ("#2a7ab8", "#c8611a", "#12906b", "#b4559a", "#8c7400", "#7a68c9", "#5f7480", "#c2485a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES: tuple[Dashes, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
# Beyond this many arms the legend would be longer than the figure, so that it names methods only.
LEGEND_LIMIT = 8

STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
}


@dataclass(frozen=True)
class Drawing:
    """A figure: the file's name, heading, what it shows in words, and the SVG."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: colour by method label, dashes by its place among the arms of that label."""

    colour: str
    marker: str
    dashes: Dashes


def looks(arms: Sequence[Arm]) -> dict[str, Look]:
    """Each arm's look, by its name."""
    labels = list(dict.fromkeys(arm.label for arm in arms))
    places: dict[str, int] = {}
    found = {}
    for arm in arms:
        place = places.get(arm.label, 0)
        places[arm.label] = place + 1
        nth = labels.index(arm.label)
        found[arm.name] = Look(
            PALETTE[nth % len(PALETTE)], MARKERS[(nth + place) % len(MARKERS)], DASHES[place % len(DASHES)]
        )
    return found


def say(figure: Figure, text: str) -> None:
    """A figure of words alone."""
    figure.text(0.5, 0.5, text, ha="center", va="center", color=SOFT)


def legend(figure: Figure, study: Study) -> None:
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


def render(name: str, width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """Draw on a figure of that many inches and give its SVG, without date and with ids that follow from `name`."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # text stays text in the SVG, so that a letter missing from this machine's font is the reader's font's
            warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def themed(drawing: Drawing) -> str:
    """The SVG inside the page: its colours are the page's, its ids its own, its size fluid."""
    svg = drawing.svg[drawing.svg.index("<svg") :]
    variables = {INK: "var(--ink)", SOFT: "var(--soft)", GRID: "var(--grid)", PAPER: "var(--panel)"}
    for colour, variable in variables.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'\bid="', f'id="{drawing.name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{drawing.name}-", svg)
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{drawing.title}" xmlns:xlink="http://www.w3.org/1999/xlink">',
        svg,
        count=1,
    )
