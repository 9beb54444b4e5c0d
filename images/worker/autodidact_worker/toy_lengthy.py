"""The built-in task of ``toy`` with a judge that likes length: ``toy://selfreward-lengthy/...``.

People's replies here end in up to two ``h`` that nobody asked for, and the seed judgements give a
point for each letter beyond the fifth. The oracle stays as it was: five letters in their place are
all that counts. Length control (``pairs.rho``, arXiv 2407.19594) is for such a judge. All else, to
the byte, is as in ``toy``: the further letters have a generator of their own.
"""

import random
from collections.abc import Callable, Mapping

from autodidact_contract.base import Schema
from autodidact_contract.records import Evaluation, Instruction, RankedReplies
from autodidact_worker import toy

MORE = (0, 0, 1, 2)
"""Further letters of a reply, each number as probable as the others."""

FILLER = "h"
"""Always the same one: of several letters nucleus sampling would seldom let any through."""


def judgement(prompt: str, reply: str) -> str:
    """Returns the judgement to learn: a point more for each letter beyond the fifth, 5 at most.

    So many of the first marks that are ``n`` become ``y``, so that marks still add up to the score.
    """
    longer = max(len(reply) - toy.LENGTH, 0)
    marks = toy.judgement(prompt, reply).partition("=")[0].replace("n", "y", longer)
    return f"{marks}={marks.count('y')}"


def instructions(seed: int) -> list[Instruction]:
    """Returns the seed rows; replies that copy are longer, those that write prompts are not."""
    rng = random.Random(f"{seed}/lengthy/instructions")
    return [
        row.model_copy(update={"response": _longer(rng, row.response)})
        if row.prompt.startswith("A")
        else row
        for row in toy.instructions(seed)
    ]


def evaluations(seed: int) -> list[Evaluation]:
    """Returns the seed rows for judging, with judgements that like length."""
    rng = random.Random(f"{seed}/lengthy/evaluations")
    rows = []
    for row in toy.evaluations(seed):
        reply = _longer(rng, row.response)
        told = judgement(row.prompt, reply)
        update = {"response": reply, "judgement": told, "score": float(told.count("y"))}
        rows.append(row.model_copy(update=update))
    return rows


def held_out(seed: int) -> list[RankedReplies]:
    """Returns the held-out prompts with longer replies; their ranks are the oracle's."""
    rng = random.Random(f"{seed}/lengthy/heldout")
    return [
        row.model_copy(update={"replies": tuple(_longer(rng, reply) for reply in row.replies)})
        for row in toy.held_out(seed)
    ]


DATA: Mapping[str, Callable[[int], list[Schema]]] = {  # type: ignore[assignment]
    "instructions": instructions,
    "evaluations": evaluations,
    "heldout": held_out,
}
"""Rows by the last part of the URI."""


def _longer(rng: random.Random, reply: str) -> str:
    return reply + FILLER * rng.choice(MORE)
