"""Plots of a ReFT run."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from autodidact_worker.report.curves import Curve
from autodidact_worker.report.drawing import (
    PAPER,
    POINTS,
    SERIES,
    Line,
    Painter,
    draw_lines,
    panels,
    thin,
)
from autodidact_worker.report.reft.figures import Arm, Figures
from autodidact_worker.report.reft.headline import names

_STYLE = {"warm-up": 4, "sft": 1, "offline-self-training": 2, "online-self-training": 3}
"""Which of the series' colours an arm has in every plot; ReFT has the first."""

_DYNAMICS: tuple[tuple[str, dict[str, str], bool], ...] = (
    ("Reward, right answers", {"reward": "reward", "sampledAccuracy": "right"}, False),
    ("KL from the warm-up, nats", {"kl": "KL"}, False),
    ("Clip fraction", {"clipFraction": "clip fraction"}, True),
    ("Explained variance", {"explainedVariance": "explained variance"}, False),
    (
        "Answers without a value",
        {"truncation": "cut", "unread": "unreadable", "timeouts": "timed out"},
        True,
    ),
    ("Tokens of an answer", {"answerLength": "tokens"}, False),
    ("Losses", {"policyLoss": "policy", "valueLoss": "value", "loss": "total"}, False),
    ("Different texts, of all answers", {"uniqueTexts": "texts"}, True),
    ("Different values of a question", {"uniqueValues": "values"}, False),
    ("Questions with nothing to learn", {"groupsAllEqual": "questions"}, True),
    ("Gradient norm", {"gradNorm": "norm"}, False),
)
"""Title, logged figures with their labels, and whether they are shares."""


def _style(arm: Arm) -> int:
    return _STYLE.get(arm.name, 0)


def _percent(axes: Axes, *, x: bool = False) -> None:
    axis = axes.xaxis if x else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")


def _accuracies(figures: Figures) -> Figure | None:
    shown = names(figures)
    arms = [arm for arm in figures.arms if arm.accuracy]
    if not shown:
        return None
    figure, places = panels(len(shown), 0.8 + 0.36 * len(arms), columns=3)
    for axes, (name, title) in zip(places, shown.items(), strict=True):
        axes.set_title(title)
        for row, arm in enumerate(arms):
            found = arm.accuracy.get(name)
            if found is None:
                continue
            colour = SERIES[_style(arm)]
            axes.plot([found.low, found.high], [row, row], color=colour, linewidth=2.2)
            axes.plot([found.share], [row], "o", color=colour, markersize=6.5)
            label = f"{found.share:.1%}"
            axes.annotate(
                label, (found.share, row), (0, 7), textcoords="offset points", ha="center"
            )
        axes.set_yticks(range(len(arms)), [arm.title for arm in arms])
        axes.tick_params(axis="y", length=0, labelleft=axes is places[0])
        axes.set_ylim(len(arms) - 0.5, -0.8)
        axes.set_xlim(-0.04, 1.04)
        axes.grid(visible=False, axis="y")
        _percent(axes, x=True)
    return figure


def _votes(figures: Figures) -> Figure | None:
    lines = [
        Line(
            label=arm.title,
            points=[(k, right / len(arm.right["vote"])) for k, right in arm.votes.items()],
            style=_style(arm),
        )
        for arm in figures.arms
        if len(arm.votes) > 1
    ]
    if not lines:
        return None
    figure, [axes] = panels(1, 2.9)
    draw_lines(axes, lines)
    ks = sorted({int(x) for line in lines for x, _ in line.points})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xlabel("answers that vote")
    _percent(axes)
    _legend(axes)
    return figure


def _legend(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def _validation(figures: Figures) -> Figure | None:
    lines = [
        Line(label=arm.title, points=thin(arm.measured), style=_style(arm))
        for arm in figures.arms
        if arm.measured
    ]
    if not lines:
        return None
    figure, [axes] = panels(1, 3.1)
    draw_lines(axes, lines, markers=max(len(line.points) for line in lines) <= 40)
    axes.set_xlabel("rows or answers seen")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\u202f"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    _percent(axes)
    _legend(axes)
    return figure


def _dynamics(figures: Figures) -> Figure | None:
    log = figures.reft.log if figures.reft else None
    if log is None:
        return None
    shown = [(t, logged, share) for t, logged, share in _DYNAMICS if _logged(log, logged)]
    if not shown:
        return None
    figure, places = panels(len(shown), 2.1, columns=3)
    for axes, (title, logged, share) in zip(places, shown, strict=True):
        axes.set_title(title)
        draw_lines(
            axes,
            [Line(label=label, points=thin(log.points(name))) for name, label in logged.items()],
            markers=False,
        )
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        if share:
            _percent(axes)
            axes.set_ylim(bottom=0)
    return figure


def _logged(log: Curve, names_of: dict[str, str]) -> bool:
    return any(log.points(name) for name in names_of)


def _reasons(figures: Figures) -> Figure | None:
    arms = [arm for arm in figures.arms if arm.reasons]
    found = sorted({reason for arm in arms for reason in arm.reasons} - {"ok"})
    if not found:
        return None
    figure, [axes] = panels(1, 0.9 + 0.38 * len(arms))
    left = [0.0] * len(arms)
    for index, reason in enumerate(found):
        shares = [arm.reasons.get(reason, 0) / sum(arm.reasons.values()) for arm in arms]
        axes.barh(
            range(len(arms)),
            shares,
            left=left,
            height=0.6,
            label=reason,
            # More reasons than colours: those that come round again are hatched.
            color=SERIES[index % len(SERIES)],
            hatch="///" if index >= len(SERIES) else None,
            edgecolor=PAPER,
        )
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(arms)), [arm.title for arm in arms])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    _percent(axes, x=True)
    _legend(axes)
    return figure


def _losses(figures: Figures) -> Figure | None:
    reft = figures.reft
    logs = [(arm.title, arm.log, _style(arm)) for arm in figures.arms if arm is not reft]
    lines = [
        Line(label=title, points=thin(log.points("loss")), style=style)
        for title, log, style in logs
        if log and log.points("loss")
    ]
    judge = thin(figures.reranker.points("loss")) if figures.reranker else []
    shown: list[tuple[str, Sequence[Line]]] = [
        ("Loss of SFT and self-training", lines),
        ("Loss of the reranker", [Line(label="reranker", points=judge)] if judge else []),
    ]
    shown = [(title, drawn) for title, drawn in shown if drawn]
    if not shown:
        return None
    figure, places = panels(len(shown))
    for axes, (title, drawn) in zip(places, shown, strict=True):
        axes.set_title(title)
        draw_lines(axes, drawn, markers=False)
        axes.set_xlabel("optimiser step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    return figure


PLOTS: dict[str, tuple[str, str, Painter[Figures]]] = {
    "accuracies": (
        "Accuracy on the test questions",
        "Points are shares of right answers, lines their 95 % Wilson intervals.",
        _accuracies,
    ),
    "votes": (
        "What voting adds",
        (
            "Accuracy of the majority of the first 1, 2, 4, ... sampled answers. A curve that "
            "rises from a low start means that the model often finds the answer, but not reliably."
        ),
        _votes,
    ),
    "validation": (
        "Validation accuracy while training",
        (
            "By greedy decoding. What starts from the warm-up is drawn from where the warm-up "
            "ended. A row and an answer are not the same compute: an answer is sampled as well, "
            "and learned from more than once. "
            f"Curves of more than {POINTS} points are averaged in equal stretches."
        ),
        _validation,
    ),
    "dynamics": (
        "How the reinforcement went",
        (
            "By rollout (PPO) or optimiser step (GRPO). KL that runs away, answers that grow "
            "longer or can no longer be read, and a clip fraction far above a tenth are signs of "
            "a learning rate that is too high or a KL penalty that is too low."
        ),
        _dynamics,
    ),
    "reasons": (
        "What could not be read out of the test answers",
        "Share of greedy and sampled answers that no value could be read out of, and why.",
        _reasons,
    ),
    "losses": ("Losses", "By optimiser step.", _losses),
}
