"""What the paper of a SelfRewardRun has: Yuan et al., arXiv 2401.10020.

Every default is the paper's where the paper has one; where it is silent the description says so.
"""

from typing import Literal

from autodidact_contract.api.referee import Referee
from autodidact_contract.api.run import Source
from autodidact_contract.api.training import TrainingFields
from autodidact_contract.base import SELF_REWARDING as SR
from autodidact_contract.base import Schema, doc

NOT_STATED = "not stated in arXiv 2401.10020; chosen here"

EXCLUDED_WORDS = (
    "image",
    "images",
    "graph",
    "graphs",
    "picture",
    "pictures",
    "file",
    "files",
    "map",
    "maps",
    "draw",
    "plot",
    "go to",
)


class Data(Schema):
    """The seed data and the held-out data."""

    instructions: Source | None = doc(
        None,
        "Instruction-following seed (IFT), JSON Lines of {prompt, response}. The paper has 3,200. "
        "Unset: built from data.ranked.",
        f"{SR} section 3.1.1",
    )
    evaluations: Source | None = doc(
        None,
        "Evaluation-following seed (EFT), JSON Lines of {prompt, response, judgement, score}; the "
        "judgement ends in its score. The paper has 1,630. Without it the judge is untrained and "
        "its scores are seldom readable.",
        f"{SR} section 3.1.1",
    )
    held_out: Source | None = doc(
        None,
        "Held-out human rankings, JSON Lines of {prompt, replies, ranks} with 1 the best rank. "
        "They measure the judge, and their prompts the win rate. The paper has 541. Unset: built "
        "from data.ranked.",
        f"{SR} section 3.1.1",
    )
    ranked: Source | None = doc(
        None,
        "Ranked conversation trees in Open Assistant's layout, JSON Lines of trees or of messages. "
        "What is not given of instructions and heldOut is built from them, and so are the "
        "evaluations: the model after SFT on the instructions judges the replies, and what agrees "
        "with the people is kept. Costs that SFT and seedData.attempts judgements per reply.",
        f"{SR} section 3.1.1",
    )
    validation: Source | None = doc(
        None,
        "Prompts for the choice of checkpoints, JSON Lines of {prompt}. Unset: put aside from "
        "data.ranked.",
        f"{SR} section 3.1.3",
    )


class _Training(TrainingFields):
    """What warm-up and DPO share."""

    schedule: Literal["cosine", "linear", "constant"] = doc(
        "linear", "How the learning rate falls.", f"{SR} section 3.1.3 says decaying"
    )
    batch_size: int = doc(
        16, "Rows per optimiser step, over all processes.", f"{SR} section 3.1.3", ge=1, le=65536
    )
    max_length: int = doc(
        2048, "Tokens per row; longer rows are cut and counted.", NOT_STATED, ge=8, le=1048576
    )
    dropout: float = doc(
        0.1,
        "Dropout while training. A model that has no place for it is refused unless this is 0; "
        "how many modules it changed is recorded.",
        f"{SR} section 3.1.3",
        ge=0,
        lt=1,
    )


class WarmUp(_Training):
    """SFT of M0 on IFT and EFT, which makes M1."""

    epochs: float = doc(3.0, "Passes over IFT and EFT, mixed.", NOT_STATED, gt=0, le=1000)
    learning_rate: float = doc(
        5.5e-6, "Learning rate at its highest.", f"{SR} section 3.1.3", gt=0, le=1
    )
    final_learning_rate: float = doc(
        1.1e-6, "Learning rate at the last step.", f"{SR} section 3.1.3", ge=0, le=1
    )
    schedule: Literal["cosine", "linear", "constant"] = doc(
        "cosine", "How the learning rate falls.", f"{SR} section 3.1.3"
    )


class Dpo(_Training):
    """DPO of M(t) on its own preference pairs, which makes M(t+1)."""

    epochs: float = doc(1.0, "Passes over the pairs.", NOT_STATED, gt=0, le=1000)
    learning_rate: float = doc(
        1e-6, "Learning rate at its highest.", f"{SR} section 3.1.3", gt=0, le=1
    )
    final_learning_rate: float = doc(
        1e-7, "Learning rate at the last step.", f"{SR} section 3.1.3", ge=0, le=1
    )
    beta: float = doc(
        0.1, "Weight of the reference model in the loss.", f"{SR} section 3.1.3", gt=0, le=10
    )


class Sampled(Schema):
    """How tokens are drawn."""

    temperature: float = doc(0.7, "Sampling temperature.", f"{SR} section 3.1.3", gt=0, le=2)
    top_p: float = doc(
        0.9,
        "Nucleus: smallest set of tokens with this probability.",
        f"{SR} section 3.1.3",
        gt=0,
        le=1,
    )
    max_new_tokens: int = doc(
        1024, "Tokens at most; what is cut there is counted.", NOT_STATED, ge=1, le=131072
    )


class Prompts(Sampled):
    """New prompts, written by few-shot as in Self-Instruct."""

    temperature: float = doc(0.6, "Sampling temperature.", f"{SR} section 3.1.3", gt=0, le=2)
    max_new_tokens: int = doc(256, "Tokens of a prompt at most.", NOT_STATED, ge=1, le=131072)
    per_iteration: int = doc(
        5000,
        "New prompts an iteration asks for. Costs perIteration x responses.perPrompt replies and "
        "as many times judge.votes judgements.",
        "not stated in arXiv 2401.10020; arXiv 2407.19594 uses 5,000",
        ge=1,
        le=10000000,
    )
    generator: Literal["fixed", "self"] = doc(
        "fixed",
        "Who writes: fixed is the model of prompts.model, or M1 where that is unset; self is "
        "the current M(t). The paper has a fixed Llama 2-Chat 70B.",
        f"{SR} section 3.1.3",
    )
    model: Source | None = doc(None, "The fixed writer, if it is not M1.")
    seed_demonstrations: int = doc(
        6, "Demonstrations drawn from the IFT prompts.", f"{SR} section 3.1.3", ge=1, le=64
    )
    generated_demonstrations: int = doc(
        2, "Demonstrations drawn from accepted prompts.", f"{SR} section 3.1.3", ge=0, le=64
    )
    min_words: int = doc(4, "Shorter prompts are dropped.", "Self-Instruct, arXiv 2212.10560", ge=1)
    max_words: int = doc(
        150, "Longer prompts are dropped.", "Self-Instruct, arXiv 2212.10560", ge=1
    )
    excluded_words: tuple[str, ...] = doc(
        EXCLUDED_WORDS,
        "Prompts with one of these words are dropped.",
        "Self-Instruct, arXiv 2212.10560",
        max_length=256,
    )
    max_rouge: float = doc(
        0.7,
        "Prompts whose ROUGE-L F1 with a seed or an accepted prompt is larger are dropped.",
        "Self-Instruct, arXiv 2212.10560",
        gt=0,
        le=1,
    )
    attempts_per_prompt: int = doc(
        10,
        "Completions tried per prompt asked for; when they are used up the iteration goes on "
        "with the prompts it has.",
        NOT_STATED,
        ge=1,
        le=1000,
    )


class Responses(Sampled):
    """Candidate replies to each prompt."""

    per_prompt: int = doc(4, "Replies per prompt.", f"{SR} section 3.1.3", ge=2, le=256)


class JudgeFields(Sampled):
    """The model as its own judge."""

    max_new_tokens: int = doc(512, "Tokens of a judgement at most.", NOT_STATED, ge=1, le=131072)
    rubric: Literal["additive-v1", "toy-copy-v1"] = doc(
        "additive-v1",
        "Versioned judge prompt: additive-v1 is the five-point additive prompt of the paper in "
        "our words, toy-copy-v1 that of the built-in toy task.",
        f"{SR} figure 2",
    )
    votes: int = doc(
        3, "Judgements per reply; the score is their mean.", f"{SR} section 3.1.3", ge=1, le=256
    )
    min_valid: int = doc(
        1, "Readable judgements a reply needs to be scored.", NOT_STATED, ge=1, le=256
    )
    allow_fractional: bool = doc(False, "Whether a score like 4.5 is readable.", NOT_STATED)


class Pairs(Schema):
    """Which replies become a preference pair."""

    tie_break: Literal["random", "shortest", "lowest-variance"] = doc(
        "random",
        "Which of several best (or worst) replies is taken: by seed, the shortest, or the one "
        "whose votes differ least.",
        NOT_STATED,
    )
    min_score_gap: float = doc(
        0.0,
        "Pairs whose scores differ by less are dropped; equal scores always are. Costs nothing but "
        "the pairs that it drops.",
        f"{SR} section 2.3",
        ge=0,
    )
    exclude_truncated: bool = doc(
        True, "Whether replies cut by maxNewTokens are left out.", NOT_STATED
    )


class EvaluationFields(Referee):
    """How each model is measured on the held-out data."""

    prompts: int = doc(
        256, "Held-out prompts of the battles at most.", f"{SR} section 3.2", ge=1, le=100000
    )
    against: tuple[Literal["previous", "first", "baseline"], ...] = doc(
        ("previous", "first"),
        "Whom each model meets: previous is M(t), first is M1, baseline the model after SFT on the "
        "instructions alone, which is trained for that if data.ranked does not need it anyway. "
        "Each costs as many replies and twice as many comparisons as there are prompts.",
        f"{SR} section 3.2",
        max_length=3,
    )
