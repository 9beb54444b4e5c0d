"""How plots look, and how they become SVG text. The same figures give the same bytes.

Colours are placeholders that the page's style sheet fills in, one set for light and one for dark
screens; both are Okabe and Ito's, which people with any colour vision can tell apart, and every
series also has its own marker or position.
"""

import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK, GRID, PAPER = "#010203", "#040506", "#070809"
SERIES = tuple(f"#0{index}0a0b" for index in range(1, 7))
_VARIABLES = {INK: "--ink", GRID: "--rule", PAPER: "--paper"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES, 1)
}
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "X")
_STYLE: "dict[RcKeyType, Any]" = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "patch.linewidth": 0,
}
POINTS = 240
"""Points of a curve at most; longer logs are averaged in equal stretches."""
PANELS = 8
"""Small plots side by side at most; of more rounds, evenly spaced ones are shown."""
_WIDTH = 8.4

_F = TypeVar("_F")
_Item = TypeVar("_Item")
Painter = Callable[[_F], Figure | None]
"""Draws figures of a kind, or returns None where they have nothing to show."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One plot of the page.

    Attributes:
        name: Anchor on the page.
        title: What it shows, as a heading.
        caption: How to read it.
        svg: The picture.
    """

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a plot.

    Attributes:
        label: What the legend calls it.
        points: Its points from left to right; without any it is left out.
        style: Number of its colour and marker; None: its place among those that are drawn.
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: int | None = None


def draw(plots: Mapping[str, tuple[str, str, Painter[_F]]], figures: _F) -> dict[str, Plot]:
    """Returns every plot that has something to show, by name.

    Args:
        plots: Title, caption and painter of each plot by its name.
        figures: What is drawn.
    """
    drawn = {}
    for name, (title, caption, painter) in plots.items():
        with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
            figure = painter(figures)
            if figure is not None:
                picture = _svg(figure, name, title, caption)
                drawn[name] = Plot(name=name, title=title, caption=caption, svg=picture)
    return drawn


def _svg(figure: Figure, name: str, title: str, caption: str) -> str:
    """Returns a figure as an element for a page: titled, scaled to its place, ids of its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    labels = f'role="img" aria-labelledby="{name}-title {name}-description"'
    described = (
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-description">{html.escape(caption)}</desc>'
    )
    return re.sub(r"<svg ([^>]*)>", rf"<svg {labels} \1>{described}", svg, count=1).strip()


def panels(count: int, height: float = 2.6, columns: int = 4) -> tuple[Figure, list[Axes]]:
    """Returns a figure of so many plots, so many in a row, each so high in inches."""
    wide = min(count, columns)
    rows = -(-count // wide)
    figure = Figure(figsize=(_WIDTH, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, wide, index + 1) for index in range(count)]
    return figure, axes


def draw_lines(axes: Axes, lines: Iterable[Line], *, markers: bool = True) -> None:
    """Draws lines that differ in colour and in marker, or in dashes for long ones without."""
    shown = [line for line in lines if line.points]
    for place, line in enumerate(shown):
        index = place if line.style is None else line.style
        x, y = zip(*line.points, strict=True)
        marker = _MARKERS[index % len(_MARKERS)] if markers else ""
        dashes = "-" if markers else _DASHES[index % len(_DASHES)]
        colour = SERIES[index % len(SERIES)]
        width = None if markers else 1.3
        axes.plot(
            *(x, y),
            color=colour,
            linestyle=dashes,
            linewidth=width,
            marker=marker,
            label=line.label,
        )
    if len(shown) > 1:
        axes.legend()


def spaced(items: Sequence[_Item], count: int) -> list[_Item]:
    """Returns at most so many items, evenly spaced, first and last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most `POINTS` points: means over equal stretches."""
    size = -(-len(points) // POINTS)
    chunks = [points[start : start + size] for start in range(0, len(points), max(1, size))]
    return [
        (sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk))
        for chunk in chunks
    ]
