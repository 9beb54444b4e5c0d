"""What a report tells, whatever the kind of run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autodidact_worker.report.drawing import Plot

SAMPLES = 32
"""Prompts in the sample browser at most."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """The content of a page.

    Attributes:
        template: The template that shows it; extends ``page.html.j2``.
        order: Names of the stages in order of the run.
        headline: What happened, in sentences; the most important one first.
        plots: Plots by name.
        glossary: Words, their meaning, and where it is from.
        notes: What could not be read, in sentences.
        groups: Number of groups that the samples are shared among.
        shown: What the template shows beside these, by name.
        summary: The tables for programs, as plain JSON types.
        counts: What the stage counts.
    """

    template: str = "page.html.j2"
    order: tuple[str, ...] = ()
    headline: Sequence[str] = ("No stage of the run was finished.",)
    plots: Mapping[str, Plot] = field(default_factory=dict)
    glossary: Sequence[tuple[str, str, str]] = ()
    notes: Sequence[str] = ()
    groups: int = 0
    shown: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
