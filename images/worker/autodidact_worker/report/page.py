"""Figures and plots as one HTML file. Every value is escaped by the template engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autodidact_worker.report import plots, text
from autodidact_worker.report.figures import JUDGE_METRICS, Figures
from autodidact_worker.report.glossary import GLOSSARY

MAX_BYTES = 2_000_000
PROMPT, REPLY, VOTE = 800, 1200, 500
"""Characters shown of a text; the rest is in the artifact."""

SAMPLES = 32
"""Prompts in the sample browser at most, over all rounds."""


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """The visible part of a model-written text."""

    shown: str
    left_out: int


def render(title: str, seed: int, figures: Figures) -> str:
    """Returns the page; of a run too long for `MAX_BYTES`, with fewer samples."""
    pictures = plots.draw(figures)
    each = max(1, SAMPLES // max(1, len(figures.rounds)))
    while True:
        page = _fill(title, seed, figures, pictures, each)
        if len(page.encode()) <= MAX_BYTES or each == 0:
            return page
        each //= 2


def _fill(
    title: str, seed: int, figures: Figures, pictures: Mapping[str, plots.Plot], samples: int
) -> str:
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=title,
        seed=seed,
        figures=figures,
        pictures={name: (plot, Markup(plot.svg)) for name, plot in pictures.items()},  # noqa: S704 - drawn here; its texts are escaped by matplotlib
        samples=samples,
        headline=headline(figures),
        judge_metrics=JUDGE_METRICS,
        glossary=GLOSSARY,
        limits={"prompt": PROMPT, "reply": REPLY, "vote": VOTE},
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("autodidact_worker.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "visible": text.visible,
        "number": text.number,
        "percent": text.percent,
        "cut": _cut,
    }
    environment.filters.update(filters)
    return environment


def _cut(value: str, limit: int) -> _Cut:
    shown, left_out = text.cut(value, limit)
    return _Cut(shown=text.visible(shown), left_out=left_out)


def headline(figures: Figures) -> list[str]:
    """Returns what happened, in a few sentences that claim no more than the figures say."""
    sentences = [_outcome(figures)]
    measured = [model for model in figures.models if model.quality is not None]
    if len(measured) > 1:
        first, last = measured[0], measured[-1]
        sentences.append(
            f"Quality by the task's own measure went from {text.number(first.quality)} "
            f"({first.name}) to {text.number(last.quality)} ({last.name})."
        )
    fought = [model for model in figures.models if model.decided]
    if fought:
        sentences.append(_verdict(fought[-1]))
    judges = [m for m in figures.models if m.judge.get("pairwiseAccuracy") is not None]
    if judges:
        steps = [f"{text.percent(m.judge['pairwiseAccuracy'])} ({m.name})" for m in judges]
        ends = " to ".join(dict.fromkeys([steps[0], steps[-1]]))
        sentences.append(f"Agreement of the judge with people's order of replies: {ends}.")
    return sentences


def _outcome(figures: Figures) -> str:
    trained = [model for model in figures.models if model.digest]
    if not trained:
        return "No model was trained: the run ended before its first training finished."
    last = trained[-1]
    unfinished = [one.number for one in figures.rounds if one.number >= last.number]
    if unfinished:
        return (
            f"The last model is {last.name}. Round {unfinished[0]} was begun and made no model: "
            f"it ended after {_last_stage(figures, unfinished[0])}."
        )
    rounds = last.number - 1
    return (
        f"The last model is {last.name}, after SFT and {rounds} round{'s'[: rounds != 1]} of DPO."
    )


def _last_stage(figures: Figures, number: int) -> str:
    names = [name for name, _, _ in figures.lineage if name.endswith(f"-{number}")]
    made = [name for name in names if not name.startswith("evaluate")]
    return made[-1] if made else "its start"


def _verdict(model: Any) -> str:
    decided, battles = model.decided, model.battles
    if decided.low > 0.5:
        meaning = "more than chance explains"
    elif decided.high < 0.5:
        meaning = "it answers worse than its predecessor"
    else:
        meaning = "not distinguishable from chance"
    return (
        f"{model.name} won {battles['win']}, drew {battles['tie']} and lost {battles['loss']} of "
        f"{model.wins.n} against {model.previous}: of the decided ones {text.percent(decided.share)} "
        f"(95\u202f% interval {text.percent(decided.low)} to {text.percent(decided.high)}), {meaning}."
    )
