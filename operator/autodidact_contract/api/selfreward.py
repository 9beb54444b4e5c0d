"""SelfRewardRun: Self-Rewarding Language Models, Yuan et al., arXiv 2401.10020.

M0 is the given model. SFT on instructions (IFT) and judgements (EFT) makes M1. Then each iteration
t lets M(t) answer new prompts and judge its own answers; best and worst become a preference pair,
and DPO with M(t) as the frozen reference makes M(t+1). No seed data enters DPO.

What the paper has is in ``selfreward_paper``, what others added in ``selfreward_options``.
"""

from typing import ClassVar, Literal

from autodidact_contract.api.answers import AnswerFields
from autodidact_contract.api.run import Gate, Origin, RunSpec, Source
from autodidact_contract.api.seed import SeedFields
from autodidact_contract.api.selfreward_options import (
    CREAM,
    META_REWARDING,
    Data,
    Dpo,
    MetaJudge,
    Pairs,
)
from autodidact_contract.api.selfreward_paper import (
    NOT_STATED,
    EvaluationFields,
    JudgeFields,
    Prompts,
    Responses,
    WarmUp,
)
from autodidact_contract.api.selfreward_rules import RULES
from autodidact_contract.base import SELF_REWARDING as SR
from autodidact_contract.base import Schema, doc


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
