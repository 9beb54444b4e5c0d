"""SelfRewardRun: Self-Rewarding Language Models, Yuan et al., arXiv 2401.10020.

M0 is the given model. SFT on instructions (IFT) and judgements (EFT) makes M1. Then each iteration
t lets M(t) answer new prompts and judge its own answers; best and worst become a preference pair,
and DPO with M(t) as the frozen reference makes M(t+1). No seed data enters DPO.

Every default is the paper's where the paper has one; where it is silent the description says so.
"""

from typing import Literal

from pydantic import model_validator

from autodidact_contract.base import SELF_REWARDING as SR
from autodidact_contract.base import Schema, doc
from autodidact_contract.resources import Gate, RunSpec, Source
from autodidact_contract.training import TrainingFields

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

    instructions: Source = doc(
        ...,
        "Instruction-following seed (IFT), JSON Lines of {prompt, response}. The paper has 3,200.",
        f"{SR} section 3.1.1",
    )
    evaluations: Source | None = doc(
        None,
        "Evaluation-following seed (EFT), JSON Lines of {prompt, response, judgement, score}; the "
        "judgement ends in its score. The paper has 1,630. Without it the judge is untrained and "
        "its scores are seldom readable.",
        f"{SR} section 3.1.1",
    )
    held_out: Source = doc(
        ...,
        "Held-out human rankings, JSON Lines of {prompt, replies, ranks} with 1 the best rank. "
        "They measure the judge, and their prompts the win rate. The paper has 541.",
        f"{SR} section 3.1.1",
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
    nll_coefficient: float = doc(
        0.0,
        "Weight of an added negative log-likelihood of the winners, averaged over the tokens of "
        "the batch as TRL does. 0: the paper's plain DPO.",
        "arXiv 2404.19733 uses 1",
        ge=0,
        le=100,
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

    @model_validator(mode="after")
    def _word_range(self) -> "Prompts":
        if self.min_words > self.max_words:
            raise ValueError("minWords must not be above maxWords")
        return self


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

    @model_validator(mode="after")
    def _enough_votes(self) -> "JudgeFields":
        if self.min_valid > self.votes:
            raise ValueError("minValid must not be above votes")
        return self


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
        "Pairs whose scores differ by less are dropped; equal scores always are.",
        f"{SR} section 2.3",
        ge=0,
    )
    exclude_truncated: bool = doc(
        True, "Whether replies cut by maxNewTokens are left out.", NOT_STATED
    )


class EvaluationFields(Schema):
    """How each model is measured on the held-out data."""

    judge: Literal["model", "oracle"] = doc(
        "model",
        "Who decides battles between a model and its predecessor: model is M1, shown both "
        "orders, and orders that disagree are a tie; oracle is the exact answer of a toy:// "
        "task.",
        f"{SR} section 3.1.3 uses GPT-4 and Claude 2",
    )
    prompts: int = doc(
        256, "Held-out prompts of the battles at most.", f"{SR} section 3.2", ge=1, le=100000
    )


class Gates(Schema):
    """Limits that stop a run instead of letting it train on noise.

    A minimum with the limit 0 is off. So is a gate set to null, but kubectl apply drops nulls when
    it creates an object, and the default comes back; kubectl apply --server-side does not.
    """

    min_parse_rate: Gate | None = doc(
        Gate(limit=0.5, action="Fail"),
        "Share of judgements that end in a readable score.",
        NOT_STATED,
    )
    max_tie_rate: Gate | None = doc(
        None, "Share of prompts whose scored replies all have one score.", NOT_STATED
    )
    min_pairs: Gate | None = doc(
        Gate(limit=1, action="Stop"),
        "Preference pairs of an iteration. Without any there is nothing to learn from, so that "
        "below 1 the run ends even where this gate is off.",
        NOT_STATED,
    )
    min_mean_gap: Gate | None = doc(
        None, "Mean difference between the scores of winner and loser.", NOT_STATED
    )
    min_judge_accuracy: Gate | None = doc(
        None,
        "Pairwise accuracy of the current judge on the held-out rankings; the next iteration "
        "then waits for the evaluation.",
        NOT_STATED,
    )


class SelfRewardSpec(RunSpec):
    """What to improve, with which seed data, how often and how."""

    model: Source = doc(..., "M0, a causal language model in Hugging Face layout, safetensors.")
    data: Data = doc(..., "Seed and held-out data.")
    iterations: int = doc(2, "DPO rounds: M1 -> M2 -> M3.", f"{SR} section 3.1", ge=1, le=100)
    warm_up: WarmUp = doc(WarmUp(), "SFT that makes M1.")
    prompts: Prompts = doc(Prompts(), "New prompts of an iteration.")
    responses: Responses = doc(Responses(), "Candidate replies.")
    judge: JudgeFields = doc(JudgeFields(), "Judgements of the candidates.")
    pairs: Pairs = doc(Pairs(), "Selection of preference pairs.")
    dpo: Dpo = doc(Dpo(), "DPO that makes the next model.")
    evaluation: EvaluationFields = doc(EvaluationFields(), "Measurements of every model.")
    gates: Gates = doc(Gates(), "Health gates.")

    @model_validator(mode="after")
    def _oracle_is_for_toys(self) -> "SelfRewardSpec":
        if self.evaluation.judge == "oracle" and not self.data.held_out.uri.startswith("toy://"):
            raise ValueError("evaluation.judge oracle needs data.heldOut from a toy:// task")
        return self


RULES = (
    (
        "self.evaluation.judge != 'oracle' || self.data.heldOut.uri.startsWith('toy://')",
        "evaluation.judge oracle needs data.heldOut from a toy:// task",
    ),
    ("self.judge.minValid <= self.judge.votes", "judge.minValid must not be above judge.votes"),
    (
        "self.prompts.minWords <= self.prompts.maxWords",
        "prompts.minWords must not be above prompts.maxWords",
    ),
    (
        "self.warmUp.finalLearningRate <= self.warmUp.learningRate",
        "warmUp.finalLearningRate must not be above warmUp.learningRate",
    ),
    (
        "self.dpo.finalLearningRate <= self.dpo.learningRate",
        "dpo.finalLearningRate must not be above dpo.learningRate",
    ),
)
"""The cross-checks above once more, as CEL for the API server."""
