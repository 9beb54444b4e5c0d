"""The built-in task of ``copying`` with a judge that likes length: ``toy://selfreward-lengthy/...``.

Half of people's replies here end in an ``h`` that nobody asked for, and the last mark of the seed
judgements is for that, whether the fifth letter is right or not. The oracle stays as it was: five
letters in their place are all that counts. Length control (``pairs.rho``, arXiv 2407.19594) is for
such a judge. All else, to the byte, is as in ``copying``: the further letters have a generator of their
own.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from autodidact_contract.base import Schema
from autodidact_contract.records import Evaluation, Instruction, RankedReplies
from autodidact_worker.toys import copying

FILLER = "h"
"""Always the same letter: of several ones nucleus sampling would seldom let any through."""


def judgement(prompt: str, reply: str) -> str:
    """Returns the judgement to learn: a mark for each of four letters, one for length, the score."""
    marks = copying.judgement(prompt, reply)[: copying.LENGTH - 1]
    marks += "y" if len(reply) > copying.LENGTH else "n"
    return f"{marks}={marks.count('y')}"


def instructions(seed: int) -> list[Instruction]:
    """Returns the seed rows; replies that copy are longer, those that write prompts are not."""
    rng = random.Random(f"{seed}/lengthy/instructions")
    return [
        row.model_copy(update={"response": _longer(rng, row.response)})
        if row.prompt.startswith("A")
        else row
        for row in copying.instructions(seed)
    ]


def evaluations(seed: int) -> list[Evaluation]:
    """Returns the seed rows for judging, with judgements that like length."""
    rng = random.Random(f"{seed}/lengthy/evaluations")
    rows = []
    for row in copying.evaluations(seed):
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
        for row in copying.held_out(seed)
    ]


DATA: Mapping[str, Callable[[int], Sequence[Schema]]] = {
    "instructions": instructions,
    "evaluations": evaluations,
    "heldout": held_out,
}
"""Rows by the last part of the URI."""


def _longer(rng: random.Random, reply: str) -> str:
    return reply + FILLER * rng.randint(0, 1)
