"""Seed data of a SelfRewardRun out of ranked conversation trees (arXiv 2401.10020 section 3.1.1).

People's conversations with an assistant, several replies to each prompt, ranked by people. The best
replies become instructions (IFT). Of prompts with several ranked replies a model that was trained
on the instructions alone judges each reply, and its judgements are kept where their order is that of
the people (EFT). What is left apart measures the judge. Which prompt is used for what depends on
its text and on these fields alone, not on the run's seed.
"""

from typing import Literal

from autodidact_contract.base import SELF_REWARDING as SR
from autodidact_contract.base import Schema, doc

NOT_STATED = f"not stated in {SR}; chosen here"


class SeedFields(Schema):
    """How ranked conversation trees become instructions, judgements and held-out rankings."""

    language: str = doc(
        "en",
        "Language of the prompts and replies that are taken, as the trees name it.",
        f"{SR} section 3.1.1",
        pattern="^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$",
        max_length=35,
    )
    instructions: int = doc(3200, "Instructions at most.", f"{SR} section 3.1.1", ge=1, le=10000000)
    instruction_share: float = doc(
        0.5,
        "Share of the prompts with several ranked replies that go to the instructions, with their "
        "best reply; prompts with one reply all do. The others are judged or held out.",
        NOT_STATED,
        ge=0,
        lt=1,
    )
    held_out_share: float = doc(
        0.25,
        "Share of the prompts that do not go to the instructions that is held out to measure the "
        "judge.",
        f"541 of 2,171 in {SR} section 3.1.1",
        gt=0,
        lt=1,
    )
    validation_prompts: int = doc(
        253,
        "Prompts put aside for the choice of checkpoints. So they are where dpo.checkpoints is not "
        "set as well: a run that goes on from this one's model may set it, and finds the same "
        "prompts held out. 0 puts none aside.",
        f"{SR} section 3.1.3",
        ge=0,
        le=100000,
    )
    attempts: int = doc(
        3,
        "Judgements of each reply that are sampled; the first set of one judgement for every reply "
        "of a prompt that agrees with the people is kept. Costs as many judgements per reply.",
        NOT_STATED,
        ge=1,
        le=64,
    )
    agreement: Literal["no-inversion", "strict"] = doc(
        "no-inversion",
        "no-inversion: no reply has a lower score than one that people ranked below it; strict: "
        "every reply has a higher score than those that people ranked below it.",
        NOT_STATED,
    )
    max_score_share: float = doc(
        0.5,
        "Share that the judgements of one score may have of all that are kept. Of the most common "
        "score some are dropped, by seed, until it has no more; the paper says that it does so, "
        "not how many.",
        f"{SR} section 3.1.1",
        gt=0,
        le=1,
    )
