"""Conversation trees and judged rankings made by hand."""

from typing import Any

from autodidact_contract.records import (
    JudgedRanking,
    Vote,
)
from autodidact_contract.stages.data import BuildSeed


def message(name: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    """Returns a message of Open Assistant's, with fields that we do not read."""
    return {
        "message_id": name,
        "parent_id": parent,
        "text": f"text of {name}",
        "role": "assistant" if parent else "prompter",
        "lang": "en",
        "labels": {"quality": {"value": 0.5}},
        **fields,
    }


CONFIG = BuildSeed(
    seed=3,
    part="judged",
    language="en",
    instructions=1000,
    instruction_share=0.5,
    held_out_share=0.25,
    validation_prompts=20,
)


def judged(*attempts: tuple[int | None, ...], ranks: tuple[int, ...] = (1, 2)) -> JudgedRanking:
    """Returns replies with these scores in each attempt."""
    votes = [
        tuple(
            Vote(text=f"Score: {score}", score=score, reason="no-score" if score is None else "ok")
            for score in scores
        )
        for scores in zip(*attempts, strict=True)
    ]
    return JudgedRanking(
        prompt_id="p",
        prompt="Say hi.",
        replies=("Hi.", "No."),
        ranks=ranks,
        votes=tuple(votes) or ((), ()),
    )
