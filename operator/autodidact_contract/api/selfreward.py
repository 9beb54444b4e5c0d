"""SelfRewardRun: Self-Rewarding Language Models, Yuan et al., arXiv 2401.10020.

M0 is the given model. SFT on instructions (IFT) and judgements (EFT) makes M1. Then each iteration
t lets M(t) answer new prompts and judge its own answers; best and worst become a preference pair,
and DPO with M(t) as the frozen reference makes M(t+1). No seed data enters DPO.

Every default is the paper's where the paper has one; where it is silent the description says so.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from autodidact_contract.api.answers import AnswerFields
from autodidact_contract.api.referee import Checkpoints, Referee
from autodidact_contract.api.run import Gate, Origin, RunSpec, Source
from autodidact_contract.api.seed import SeedFields
from autodidact_contract.api.selfreward_rules import RULES
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


META_REWARDING = "arXiv 2407.19594"
"""Wu et al., Meta-Rewarding Language Models."""

NEMO = "documentation of NVIDIA NeMo-Aligner, self-rewarding; not in arXiv 2407.19594"

CREAM = "arXiv 2410.12735"
"""Wang et al., CREAM: Consistency Regularized Self-Rewarding Language Models."""

TEMPORAL = "arXiv 2508.06026"
"""Wang et al., Temporal Self-Rewarding Language Models."""


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
    questions: Source | None = doc(
        None,
        "Questions with answers, JSON Lines of {id, question, answer}, that take the place of the "
        "model's own prompts where reward is verifier.",
        "arXiv 2404.19733 section 2",
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
        "the batch as TRL does. 0: the paper's plain DPO. Free of charge: DPO computes it anyway.",
        "arXiv 2404.19733 uses 1",
        ge=0,
        le=100,
    )
    consistency: bool = doc(
        False,
        "Whether each pair also counts the other way round, by as much as the rankings of M(t) and "
        "M(t-1) disagree: loss = C x DPO + (1 - C) x DPO with the replies exchanged, C the mean of "
        "(Kendall's tau + 1) / 2 over the prompts. Restrains the drift of small models. From the "
        "second round on; costs a second judge of every reply.",
        f"{CREAM} section 4",
    )
    checkpoints: Checkpoints | None = doc(
        None,
        "Choice of the checkpoint on validation prompts while DPO trains. Unset: the last one. The "
        "judge's model is in memory beside the one that is trained.",
        f"{SR} section 3.1.3",
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
    rho: tuple[Annotated[float, Field(ge=0, le=0.5)], ...] = doc(
        (),
        "Length control, one value for each round and the last one for all later rounds. Of the "
        "replies in the upper share rho of the score range the shortest wins, of those in the "
        "lower share the longest loses; 0 is the plain rule. Free of charge.",
        f"{META_REWARDING} section 2.3 uses 0, 0.32, 0.32, 0.4",
        max_length=100,
    )
    max_chosen_length: int | None = doc(
        None,
        "Characters of a winner at most; longer replies can only lose. Costs nothing but the pairs "
        "of prompts whose replies are all longer.",
        f"{META_REWARDING} uses 2,500 in its first round",
        ge=1,
        le=1048576,
    )
    anchored_loser: bool = doc(
        False,
        "Whether replies of M1 compete for the loser, so that winner and loser stay apart when the "
        "model has improved. From the second round on; costs as many replies of M1 to each prompt "
        "and their judgements.",
        f"{TEMPORAL} section 3",
    )


class MetaJudge(Sampled):
    """The model compares its own judgements, and learns to judge from its preferences."""

    max_new_tokens: int = doc(1024, "Tokens of a comparison at most.", NOT_STATED, ge=1, le=131072)
    rounds: int = doc(
        2, "First rounds that train the judge.", f"{META_REWARDING} section 3", ge=1, le=100
    )
    max_share: float = doc(
        0.15,
        "Share of the training pairs that may be pairs of judgements; a larger one makes every "
        "score a 5.",
        NEMO,
        gt=0,
        le=0.5,
    )
    max_score_share: float = doc(
        0.4,
        "Share of the pairs of judgements whose winners may give one score.",
        NEMO,
        gt=0,
        le=1,
    )
    max_chosen_length: int = doc(
        1100,
        "Characters of a winning judgement at most.",
        f"{META_REWARDING} section 3.1",
        ge=1,
        le=1048576,
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


class Gates(Schema):
    """Limits that stop a run instead of letting it train on noise.

    A minimum with the limit 0 is off. So is a gate set to null, but kubectl apply drops nulls when
    it creates an object, and the default comes back; kubectl apply --server-side does not.
    """

    min_parse_rate: Gate | None = doc(
        Gate(limit=0.5, action="Fail"),
        "Share of judgements that end in a readable score. Only where reward is judge: nothing "
        "else is read.",
        NOT_STATED,
    )
    max_tie_rate: Gate | None = doc(
        None,
        "Share of prompts whose scored replies all have one score, where reward is judge or "
        "implicit.",
        NOT_STATED,
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
        "Pairwise accuracy of the current judge on the held-out rankings. What trips is the judge, "
        "not its replies: the model whose judge it is stays the run's result. The next iteration "
        "waits for the evaluation.",
        NOT_STATED,
    )
    min_score_entropy: Gate | None = doc(
        None,
        "Entropy in nats of the distribution of the votes' scores; 0 where the judge says the same "
        "of every reply, 1.79 where six scores are equally frequent. Where reward is judge.",
        NOT_STATED,
    )
    max_length_ratio: Gate | None = doc(
        None,
        "Mean length of the replies to the held-out prompts, divided by that of M1's, and beyond "
        "every limit where all of M1's are empty. The model that is beyond it is not the run's "
        "result; the one before is. The next iteration waits for the evaluation.",
        f"{SR} section 4 sees 1.5 in each round",
    )
    min_gain: Gate | None = doc(
        None,
        "Share of won battles against the model before minus that of lost ones. A model that gains "
        "less is not the run's result; the one before is. iterations is then a maximum. The next "
        "iteration waits for the evaluation.",
        NOT_STATED,
    )


class SelfRewardSpec(RunSpec):
    """What to improve, with which seed data, how often and how."""

    RULES: ClassVar = RULES

    from_: Origin | None = doc(
        None,
        "Starts from a model of another run in place of M1, without a warm-up of its own and "
        "without data.evaluations. The run waits until there is that model; which one it was is "
        "kept in status.origin, and goes on to count when the other run is gone. Give it the "
        "data.ranked and seedData of the other run: with others, prompts that the model has "
        "learned from may be held out here.",
        alias="from",
    )
    model: Source = doc(..., "M0, a causal language model in Hugging Face layout, safetensors.")
    data: Data = doc(..., "Seed and held-out data.")
    iterations: int = doc(
        2, "DPO rounds at most: M1 -> M2 -> M3.", f"{SR} section 3.1", ge=1, le=100
    )
    reward: Literal["judge", "implicit", "verifier"] = doc(
        "judge",
        "What scores the replies: judge is the model itself, by the rubric; implicit is DPO's own "
        "reward, the log-ratio of M(t) to the model before it (to M0 in the first round, whatever "
        "from names); verifier is whether the answer to a question of data.questions is right, as "
        "for a ReFTRun. judge costs judge.votes judgements a reply, implicit two forward passes, "
        "verifier neither, and new prompts neither; the number of questions is then its cost.",
        f"{SR} section 2.2; {CREAM} section 3 for implicit; arXiv 2404.19733 for verifier",
    )
    learning: Literal["dpo", "positive"] = doc(
        "dpo",
        "dpo learns from pairs; positive is the paper's contrast: replies with the best score are "
        "added to the seed data, and SFT starts again from the given model. positive costs a whole "
        "SFT in every round, over the seed data and the replies of all rounds, in place of a DPO.",
        f"{SR} section 2.4",
    )
    seed_data: SeedFields = doc(SeedFields(), "How data.ranked is used.")
    warm_up: WarmUp = doc(WarmUp(), "SFT that makes M1.")
    prompts: Prompts = doc(Prompts(), "New prompts of an iteration.")
    responses: Responses = doc(Responses(), "Candidate replies.")
    judge: JudgeFields = doc(JudgeFields(), "Judgements of the candidates.")
    answers: AnswerFields = doc(
        AnswerFields(), "Reading and comparing answers, where reward is verifier."
    )
    pairs: Pairs = doc(Pairs(), "Selection of preference pairs.")
    meta_judge: MetaJudge | None = doc(
        None,
        "Pairs of judgements beside the pairs of replies. Unset: none. Of each prompt the reply is "
        "taken whose votes differ most; its judge.votes judgements (11 in the paper) are compared "
        "two by two in both orders, which costs votes x (votes - 1) comparisons a prompt: 6 with 3 "
        "votes, 110 with 11.",
        META_REWARDING,
    )
    dpo: Dpo = doc(Dpo(), "DPO that makes the next model.")
    evaluation: EvaluationFields = doc(EvaluationFields(), "Measurements of every model.")
    gates: Gates = doc(Gates(), "Health gates.")

    @property
    def parent(self) -> Origin | None:
        """The model of another run that this one starts from."""
        return self.from_

    @property
    def seed_source(self) -> Source | None:
        """Where the prompts of the battles come from, whose oracle may decide them."""
        return self.data.held_out or self.data.ranked
