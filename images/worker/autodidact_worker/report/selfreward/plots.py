"""Plots of a Self-Rewarding run."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from autodidact_worker.report.curves import Curve
from autodidact_worker.report.drawing import (
    GRID,
    INK,
    PANELS,
    PAPER,
    POINTS,
    SERIES,
    Line,
    Painter,
    draw_lines,
    panels,
    spaced,
    thin,
)
from autodidact_worker.report.selfreward.figures import JUDGE_METRICS, Figures, Round


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
    figure, places = panels(len(shown))
    for axes, (title, points) in zip(places, shown, strict=True):
        axes.set_title(title)
        draw_lines(axes, [Line(label=title, points=points)])
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
    figure, [axes] = panels(1, 0.9 + 0.38 * len(models))
    left = [0.0] * len(models)
    for result, colour in (("win", SERIES[0]), ("tie", GRID), ("loss", SERIES[1])):
        shares = [model.battles[result] / sum(model.battles.values()) for model in models]
        axes.barh(range(len(models)), shares, left=left, color=colour, label=result, height=0.6)
        for row, (start, share) in enumerate(zip(left, shares, strict=True)):
            if share >= 0.06:
                middle = start + share / 2
                label = f"{result} {share:.0%}"
                ink = INK if result == "tie" else PAPER
                axes.text(middle, row, label, ha="center", va="center", fontsize=8, color=ink)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    for row, model in enumerate(models):
        wins = model.wins
        if wins:
            axes.plot([wins.low, wins.high], [row + 0.38] * 2, color=INK, linewidth=1.4)
    axes.set_yticks(range(len(models)), [f"{model.name} vs {model.previous}" for model in models])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _histograms(figures: Figures) -> Figure | None:
    rounds = spaced([one for one in figures.rounds if one.histogram], PANELS)
    if not rounds:
        return None
    figure, places = panels(len(rounds), 2.0)
    top = max(5.0, *(max(one.histogram) for one in rounds))
    bottom = min(0.0, *(min(one.histogram) for one in rounds))  # a reward may be negative
    for axes, one in zip(places, rounds, strict=True):
        total = sum(one.histogram.values())
        scores = sorted(one.histogram)
        axes.bar(scores, [one.histogram[s] / total for s in scores], 0.42, color=SERIES[0])
        axes.set_title(f"M{one.number} on its replies")
        axes.set_xlim(bottom - 0.4, top + 0.4)
        axes.set_ylim(0, 1)
        axes.set_xlabel("mean score")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _losses(figures: Figures) -> Figure | None:
    sft = [curve for curve in figures.curves if not curve.stage.startswith("train-dpo")]
    dpo = spaced([curve for curve in figures.curves if curve not in sft], len(SERIES))
    shown = [
        ("SFT loss", sft, "loss"),
        ("DPO loss", dpo, "loss"),
        ("DPO reward margin", dpo, "rewardsMargin"),
    ]
    shown = [item for item in shown if any(curve.points(item[2]) for curve in item[1])]
    if not shown:
        return None
    figure, places = panels(len(shown))
    for axes, (title, curves, figure_name) in zip(places, shown, strict=True):
        lines = [
            Line(label=_round_of(curve), points=thin(curve.points(figure_name))) for curve in curves
        ]
        draw_lines(axes, lines, markers=False)
        axes.set_title(title)
        axes.set_xlabel("optimiser step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return figure


def _round_of(curve: Curve) -> str:
    return f"round {curve.stage.rpartition('-')[2]}"


def _judge(figures: Figures) -> Figure | None:
    lines = [
        Line(
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
    figure, [axes] = panels(1, 2.9)
    draw_lines(axes, lines)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    _model_axis(axes, [round(x) for line in lines for x, _ in line.points])
    axes.set_ylim(top=1.04)
    return figure


def _drops(figures: Figures) -> Figure | None:
    rounds = [one for one in figures.rounds if one.prompts]
    if not rounds:
        return None
    reasons = list(dict.fromkeys(reason for one in rounds for reason in one.dropped))
    figure, [axes] = panels(1, 0.9 + 0.38 * len(rounds))
    left = [0.0] * len(rounds)
    for index, reason in enumerate(["pair", *reasons]):
        counts = [float(_fate(one, reason)) for one in rounds]
        colour = SERIES[index % len(SERIES)]
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
        Line(label="all replies", points=_by_number(figures.rounds, lambda r: r.characters)),
        Line(label="chosen", points=_by_number(figures.rounds, lambda r: r.chosen_length)),
        Line(label="rejected", points=_by_number(figures.rounds, lambda r: r.rejected_length)),
    ]
    figure = _over_rounds(lines, "characters")
    if figure is not None:
        figure.axes[0].set_ylim(bottom=0)
    return figure


def _diversity(figures: Figures) -> Figure | None:
    lines = [
        Line(
            label="different first words for each prompt",
            points=_by_number(figures.rounds, lambda r: r.diversity),
        ),
        Line(
            label="mean largest ROUGE-L to any other prompt",
            points=_by_number(figures.rounds, lambda r: r.rouge_max),
        ),
    ]
    figure = _over_rounds(lines, "")
    if figure is not None:
        figure.axes[0].set_ylim(-0.04, 1.04)
    return figure


def _over_rounds(lines: list[Line], unit: str) -> Figure | None:
    if not any(line.points for line in lines):
        return None
    figure, [axes] = panels(1, 2.5)
    draw_lines(axes, lines)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    _model_axis(axes, [round(x) for line in lines for x, _ in line.points], "round ")
    axes.set_ylabel(unit)
    return figure


PLOTS: dict[str, tuple[str, str, Painter[Figures]]] = {
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
