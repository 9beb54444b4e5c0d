"""What followers added to the paper of a SelfRewardRun; a run without them is the paper's.

Each option is off unless a manifest sets it. A class here has the paper's fields and the options
beside them. The paper's own choice of checkpoints is an option as well, for its cost.
"""

from typing import Annotated

from pydantic import Field

from autodidact_contract.api import selfreward_paper as paper
from autodidact_contract.api.referee import Checkpoints
from autodidact_contract.api.run import Source
from autodidact_contract.base import SELF_REWARDING as SR
from autodidact_contract.base import doc

META_REWARDING = "arXiv 2407.19594"
"""Wu et al., Meta-Rewarding Language Models."""

NEMO = "documentation of NVIDIA NeMo-Aligner, self-rewarding; not in arXiv 2407.19594"

CREAM = "arXiv 2410.12735"
"""Wang et al., CREAM: Consistency Regularized Self-Rewarding Language Models."""

TEMPORAL = "arXiv 2508.06026"
"""Wang et al., Temporal Self-Rewarding Language Models."""


class Data(paper.Data):
    """The seed data and the held-out data, and questions in place of the model's prompts."""

    questions: Source | None = doc(
        None,
        "Questions with answers, JSON Lines of {id, question, answer}, that take the place of the "
        "model's own prompts where reward is verifier.",
        "arXiv 2404.19733 section 2",
    )


class Dpo(paper.Dpo):
    """DPO, and what others add to its loss."""

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


class Pairs(paper.Pairs):
    """Which replies become a preference pair, and who else may win or lose."""

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


class MetaJudge(paper.Sampled):
    """The model compares its own judgements, and learns to judge from its preferences."""

    max_new_tokens: int = doc(
        1024, "Tokens of a comparison at most.", paper.NOT_STATED, ge=1, le=131072
    )
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
