"""The page's plots: figures in, SVG text out. The same figures give the same bytes.

Colours are placeholders that the page's style sheet fills in, one set for light and one for dark
screens; both are Okabe and Ito's, which people with any colour vision can tell apart, and every
series also has its own marker or position.
"""

import html
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from autodidact_worker.report.figures import JUDGE_METRICS, Curve, Figures, Round

_INK, _GRID, _PAPER = "#010203", "#040506", "#070809"
_SERIES = tuple(f"#0{index}0a0b" for index in range(1, 7))
_VARIABLES = {_INK: "--ink", _GRID: "--rule", _PAPER: "--paper"} | {
    colour: f"--series-{index}" for index, colour in enumerate(_SERIES, 1)
}
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "X")
_STYLE: dict[str, Any] = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
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
class _Line:
    label: str
    points: Sequence[tuple[float, float]]


def draw(figures: Figures) -> dict[str, Plot]:
    """Returns every plot that has something to show, by name."""
    plots = {}
    for name, (title, caption, painter) in _PLOTS.items():
        with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
            figure = painter(figures)
            if figure is not None:
                picture = _svg(figure, name, title, caption)
                plots[name] = Plot(name=name, title=title, caption=caption, svg=picture)
    return plots


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


def _panels(count: int, height: float = 2.6, columns: int = 4) -> tuple[Figure, list[Axes]]:
    wide = min(count, columns)
    rows = -(-count // wide)
    figure = Figure(figsize=(_WIDTH, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, wide, index + 1) for index in range(count)]
    return figure, axes


def _lines(axes: Axes, lines: Iterable[_Line], *, markers: bool = True) -> None:
    shown = [line for line in lines if line.points]
    for index, line in enumerate(shown):
        x, y = zip(*line.points, strict=True)
        marker = _MARKERS[index % len(_MARKERS)] if markers else ""
        dashes = "-" if markers else _DASHES[index % len(_DASHES)]
        colour = _SERIES[index % len(_SERIES)]
        axes.plot(x, y, color=colour, linestyle=dashes, marker=marker, label=line.label)
    if len(shown) > 1:
        axes.legend()


def _model_axis(axes: Axes, numbers: Sequence[int], prefix: str = "M") -> None:
    """Names the whole numbers of the x axis M1, M2, ..."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(lambda value, _: f"{prefix}{value:.0f}")
    if numbers:
        axes.set_xlim(min(numbers) - 0.4, max(numbers) + 0.4)


def _by_number(items: Iterable[Any], value: Callable[[Any], float | None]) -> list[Any]:
    return [(item.number, found) for item in items if (found := value(item)) is not None]


def _progress(figures: Figures) -> Figure | None:
    quality = _by_number(figures.models, lambda model: model.quality)
    score = _by_number(figures.rounds, lambda one: one.score)
    shown = [
        ("Quality by the task's own measure", quality),
        ("Mean score that each model gives its own replies", score),
    ]
    shown = [(title, points) for title, points in shown if points]
    if not shown:
        return None
    figure, panels = _panels(len(shown))
    for axes, (title, points) in zip(panels, shown, strict=True):
        axes.set_title(title)
        _lines(axes, [_Line(label=title, points=points)])
        _label_ends(axes, points)
        _model_axis(axes, [number for number, _ in points])
        axes.margins(y=0.22)
    return figure


def _label_ends(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    for x, y in points if len(points) <= 8 else (points[0], points[-1]):
        axes.annotate(f"{y:.2f}", (x, y), (0, 7), textcoords="offset points", ha="center")


def _battles(figures: Figures) -> Figure | None:
    models = [model for model in figures.models if model.wins]
    if not models:
        return None
    figure, [axes] = _panels(1, 0.9 + 0.38 * len(models))
    left = [0.0] * len(models)
    for result, colour in (("win", _SERIES[0]), ("tie", _GRID), ("loss", _SERIES[1])):
        shares = [model.battles[result] / sum(model.battles.values()) for model in models]
        axes.barh(range(len(models)), shares, left=left, color=colour, label=result, height=0.6)
        for row, (start, share) in enumerate(zip(left, shares, strict=True)):
            if share >= 0.06:
                middle = start + share / 2
                label = f"{result} {share:.0%}"
                ink = _INK if result == "tie" else _PAPER
                axes.text(middle, row, label, ha="center", va="center", fontsize=8, color=ink)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    for row, model in enumerate(models):
        wins = model.wins
        if wins:
            axes.plot([wins.low, wins.high], [row + 0.38] * 2, color=_INK, linewidth=1.4)
    axes.set_yticks(range(len(models)), [f"{model.name} vs {model.previous}" for model in models])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _spaced(items: Sequence[Any], count: int) -> list[Any]:
    """Returns at most so many items, evenly spaced, first and last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]


def _histograms(figures: Figures) -> Figure | None:
    rounds = _spaced([one for one in figures.rounds if one.histogram], PANELS)
    if not rounds:
        return None
    figure, panels = _panels(len(rounds), 2.0)
    top = max(5.0, *(max(one.histogram) for one in rounds))
    for axes, one in zip(panels, rounds, strict=True):
        total = sum(one.histogram.values())
        scores = sorted(one.histogram)
        axes.bar(scores, [one.histogram[s] / total for s in scores], 0.42, color=_SERIES[0])
        axes.set_title(f"M{one.number} on its replies")
        axes.set_xlim(-0.4, top + 0.4)
        axes.set_ylim(0, 1)
        axes.set_xlabel("mean score")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _losses(figures: Figures) -> Figure | None:
    sft = [curve for curve in figures.curves if curve.stage == "train-sft"]
    dpo = _spaced([curve for curve in figures.curves if curve not in sft], len(_SERIES))
    shown = [
        ("SFT loss", sft, "loss"),
        ("DPO loss", dpo, "loss"),
        ("DPO reward margin", dpo, "rewardsMargin"),
    ]
    shown = [item for item in shown if any(curve.points(item[2]) for curve in item[1])]
    if not shown:
        return None
    figure, panels = _panels(len(shown))
    for axes, (title, curves, figure_name) in zip(panels, shown, strict=True):
        lines = [
            _Line(label=_round_of(curve), points=thin(curve.points(figure_name)))
            for curve in curves
        ]
        _lines(axes, lines, markers=False)
        axes.set_title(title)
        axes.set_xlabel("optimiser step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return figure


def _round_of(curve: Curve) -> str:
    return f"round {curve.stage.rpartition('-')[2]}"


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most `POINTS` points: means over equal stretches."""
    size = -(-len(points) // POINTS)
    chunks = [points[start : start + size] for start in range(0, len(points), max(1, size))]
    return [
        (sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk))
        for chunk in chunks
    ]


def _judge(figures: Figures) -> Figure | None:
    lines = [
        _Line(
            label=label,
            points=[
                (m.number, value)
                for m in figures.models
                if (value := m.judge.get(name)) is not None
            ],
        )
        for name, label in JUDGE_METRICS.items()
    ]
    if not any(line.points for line in lines):
        return None
    figure, [axes] = _panels(1, 2.9)
    _lines(axes, lines)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    _model_axis(axes, [x for line in lines for x, _ in line.points])
    axes.set_ylim(top=1.04)
    return figure


def _drops(figures: Figures) -> Figure | None:
    rounds = [one for one in figures.rounds if one.prompts]
    if not rounds:
        return None
    reasons = list(dict.fromkeys(reason for one in rounds for reason in one.dropped))
    figure, [axes] = _panels(1, 0.9 + 0.38 * len(rounds))
    left = [0.0] * len(rounds)
    for index, reason in enumerate(["pair", *reasons]):
        counts = [float(_fate(one, reason)) for one in rounds]
        colour = _SERIES[index % len(_SERIES)]
        axes.barh(range(len(rounds)), counts, left=left, color=colour, label=reason, height=0.6)
        left = [start + count for start, count in zip(left, counts, strict=True)]
    axes.set_yticks(range(len(rounds)), [f"round {one.number}" for one in rounds])
    axes.invert_yaxis()
    axes.set_xlabel("prompts")
    axes.grid(visible=False, axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _fate(one: Round, reason: str) -> int:
    return one.pairs or 0 if reason == "pair" else one.dropped.get(reason, 0)


def _lengths(figures: Figures) -> Figure | None:
    lines = [
        _Line(label="all replies", points=_by_number(figures.rounds, lambda r: r.characters)),
        _Line(label="chosen", points=_by_number(figures.rounds, lambda r: r.chosen_length)),
        _Line(label="rejected", points=_by_number(figures.rounds, lambda r: r.rejected_length)),
    ]
    figure = _over_rounds(lines, "characters")
    if figure is not None:
        figure.axes[0].set_ylim(bottom=0)
    return figure


def _diversity(figures: Figures) -> Figure | None:
    lines = [
        _Line(
            label="different first words for each prompt",
            points=_by_number(figures.rounds, lambda r: r.diversity),
        ),
        _Line(
            label="mean largest ROUGE-L to any other prompt",
            points=_by_number(figures.rounds, lambda r: r.rouge_max),
        ),
    ]
    figure = _over_rounds(lines, "")
    if figure is not None:
        figure.axes[0].set_ylim(-0.04, 1.04)
    return figure


def _over_rounds(lines: list[_Line], unit: str) -> Figure | None:
    if not any(line.points for line in lines):
        return None
    figure, [axes] = _panels(1, 2.5)
    _lines(axes, lines)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    _model_axis(axes, [x for line in lines for x, _ in line.points], "round ")
    axes.set_ylabel(unit)
    return figure


_PLOTS: dict[str, tuple[str, str, Callable[[Figures], Figure | None]]] = {
    "progress": (
        "Quality and score",
        (
            "Left, where the task has one: its own measure of held-out replies. A score that rises "
            "while quality does not is a judge that became generous."
        ),
        _progress,
    ),
    "battles": (
        "Each model against its predecessor",
        (
            "Held-out prompts won, drawn and lost. The line under a bar is the 95 % Wilson interval "
            "of the share won."
        ),
        _battles,
    ),
    "scores": (
        "Scores of each round's replies",
        (
            "Share of replies by mean score. All mass in one bar means that the judge no longer "
            "tells replies apart."
        ),
        _histograms,
    ),
    "pairs": (
        "What became of each round's prompts",
        "Prompts whose best and worst reply became a preference pair, and why others did not.",
        _drops,
    ),
    "training": (
        "Training",
        (
            "Loss by optimiser step; for DPO also the implicit reward margin, "
            "chosen minus rejected. "
            f"Logs longer than {POINTS} points are averaged in equal stretches."
        ),
        _losses,
    ),
    "judge": (
        "How well each model judges",
        "Agreement with people's ranks on held-out replies; 1 is perfect.",
        _judge,
    ),
    "lengths": (
        "Length of replies",
        "Chosen replies that are always longer teach length as much as quality.",
        _lengths,
    ),
    "diversity": (
        "Variety of new prompts",
        "Falling first-word variety or rising ROUGE-L means that prompts repeat themselves.",
        _diversity,
    ),
}
