"""Rubrics: how a model is asked to judge, to write prompts and to compare replies.

A rubric's name is part of every stage config that uses it, so its files never change once they
are released: other wording gets a new name.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from autodidact_contract.stages.base import RUBRICS
from autodidact_worker.runtime.errors import UserError

TEXTS = Path(__file__).parent / "rubrics"

# U+2212 is a minus sign, U+2013 and U+2014 are dashes.
_NUMBER = r"(?P<number>[+\-\u2212]?\d++(?:[.,]\d++)?+)"
# "Score:" with markdown around it, a number, and what may turn it into something else; all on one
# line, as what follows may be a list of points.
_SCORE_LINE = re.compile(
    rf"\bscore[ \t]*[*_]*[ \t]*:[*_\[(< \t]*{_NUMBER}(?P<range>[-\u2013\u2014]\d+)?"
    r"[\])>*_ \t]*(?:(?:/|out[ \t]+of)[ \t]*(?P<denominator>\d+))?",
    re.IGNORECASE,
)
_TOY_SCORE = re.compile(rf"={_NUMBER}(?P<range>(?!))?(?P<denominator>(?!))?")
_NEXT_ENTRY = re.compile(r"\n\s*\d+\s*\.(?:\s|$)")
_OWN_NUMBER = re.compile(r"^\s*\d+\s*\.\s+")


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """The texts that ask a model, and how to read what it answers to them.

    Attributes:
        name: Versioned name, as in stage configs.
        judge: Text with ``{prompt}`` and ``{response}``.
        prompts: Text with ``{demonstrations}``.
        pairwise: Text with ``{prompt}``, ``{a}`` and ``{b}``, where the rubric can compare.
        meta: Text with ``{prompt}``, ``{response}`` and, where it shows them, the judgements
            ``{a}`` and ``{b}``.
        score: Groups ``number``, ``range`` and ``denominator`` of a judgement's score.
        low: Smallest score.
        high: Largest score.
        join: Writes demonstrations so that the model continues with a new prompt.
        cut: Takes the new prompt from a continuation; None if it may be unfinished. Second
            argument: whether the model ended by itself.
        nearer: Says by what the model answers to ``meta`` which of two judgements is better, A or
            B, where the answer is no verdict.
        oracle: Module whose ``quality(prompt, reply)`` is the truth, for tasks that have one.
    """

    name: str
    judge: str
    prompts: str
    pairwise: str | None
    meta: str
    score: re.Pattern[str]
    low: int
    high: int
    join: Callable[[Sequence[str]], str]
    cut: Callable[[str, bool], str | None]
    nearer: Callable[[str, str, str], Literal["A", "B", "tie"]] | None = None
    oracle: str | None = None


def fill(text: str, values: Mapping[str, str]) -> str:
    """Returns the text with its fields replaced; braces inside the values mean nothing."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)


@lru_cache
def get(name: str) -> Rubric:
    """Returns a rubric by name.

    Raises:
        UserError: ``InvalidConfig``: there is no such rubric.
    """
    if name not in MAKERS:
        raise UserError("InvalidConfig", f"no rubric {name!r}; there are {', '.join(RUBRICS)}")
    return MAKERS[name](name)


def _additive(name: str) -> Rubric:
    return Rubric(
        name=name,
        judge=_text(name, "judge"),
        prompts=_text(name, "prompts"),
        pairwise=_text(name, "pairwise"),
        meta=_text(name, "meta"),
        score=_SCORE_LINE,
        low=0,
        high=5,
        join=_numbered,
        cut=_entry,
    )


def _toy_copy(name: str) -> Rubric:
    return Rubric(
        name=name,
        judge=_text(name, "judge"),
        prompts=_text(name, "prompts"),
        pairwise=None,
        meta=_text(name, "meta"),
        score=_TOY_SCORE,
        low=0,
        high=5,
        join=lambda texts: "".join(f"{text} " for text in texts),
        cut=lambda text, ended: text.strip() if ended else None,
        nearer=_nearer,
        oracle="autodidact_worker.toys.copying",
    )


def _nearer(answer: str, first: str, second: str) -> Literal["A", "B", "tie"]:
    """Returns the judgement that agrees in more marks with one that the model writes now.

    A model of one letter a token has no words to compare judgements with.
    """
    a, b = (sum(x == y for x, y in zip(answer, text, strict=False)) for text in (first, second))
    return "A" if a > b else "B" if b > a else "tie"


MAKERS: Mapping[str, Callable[[str], Rubric]] = {
    "additive-v1": _additive,
    "toy-copy-v1": _toy_copy,
}
"""What makes each rubric of its name."""


def _text(name: str, part: str) -> str:
    return (TEXTS / name / f"{part}.txt").read_text(encoding="utf-8").removesuffix("\n")


def _numbered(texts: Sequence[str]) -> str:
    """Returns a numbered list that ends in the next number, for the model to continue."""
    lines = [f"{i}. {' '.join(text.split())}" for i, text in enumerate(texts, 1)]
    return "\n".join([*lines, f"{len(texts) + 1}."])


def _entry(text: str, ended: bool) -> str | None:
    """Returns the first entry of a continued list, white space collapsed."""
    text = _OWN_NUMBER.sub("", text, count=1)  # a chat model repeats the number it was given
    following = _NEXT_ENTRY.search(text)
    if not following and not ended:
        return None
    return " ".join(text[: following.start() if following else None].split())
