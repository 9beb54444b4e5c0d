"""A story as one HTML file. Every value is escaped by the template engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autodidact_worker.report import text
from autodidact_worker.report.origin import Origin, Settings
from autodidact_worker.report.story import SAMPLES, Story

MAX_BYTES = 2_000_000
LIMITS = {"prompt": 800, "reply": 1200, "vote": 500}
"""Characters shown of a text; the rest is in the artifact."""


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """The visible part of a model-written text."""

    shown: str
    left_out: int


def render(
    title: str,
    seed: int,
    story: Story,
    lineage: Sequence[Origin] = (),
    settings: Sequence[Settings] = (),
) -> str:
    """Returns the page; of a run too long for `MAX_BYTES`, with fewer samples."""
    template = _environment().get_template(story.template)
    each = max(1, SAMPLES // max(1, story.groups))
    while True:
        page = template.render(
            title=title,
            seed=seed,
            story=story,
            lineage=lineage,
            settings=settings,
            samples=each,
            limits=LIMITS,
            **story.shown,
        )
        if len(page.encode()) <= MAX_BYTES or each == 0:
            return page
        each //= 2


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
        "points": text.points,
        "p_value": text.p_value,
        "cut": _cut,
        "picture": lambda plot: Markup(plot.svg),  # noqa: S704 - drawn by us; matplotlib escapes
    }
    environment.filters.update(filters)
    return environment


def _cut(value: str, limit: int) -> _Cut:
    shown, left_out = text.cut(value, limit)
    return _Cut(shown=text.visible(shown), left_out=left_out)
