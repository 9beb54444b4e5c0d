"""The kinds of run: a row each, with what the cluster, the terminal and the report need to know.

A further kind is a row here. Its graph is named in ``autodidact_operator.plan.recipes``, and the
worker has a package of ``report``'s name in ``autodidact_worker.report``.
"""

from dataclasses import dataclass

from autodidact_contract.api.reft import ReFTSpec
from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.selfreward import SelfRewardSpec


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a model in the table that a terminal shows.

    Attributes:
        heading: Its heading.
        figure: Field of ``Iteration``.
        form: How its value is written, as ``str.format`` takes it.
    """

    heading: str
    figure: str
    form: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of run.

    Attributes:
        kind: Name in manifests.
        plural: Name of the resource.
        short: Short name for kubectl.
        spec: Schema of its manifests.
        description: What kubectl explain says of it.
        columns: Figures of its models, in the order in which they are shown.
        score: Fields of ``Iteration``. The first that a model has is the model's score.
        title: Title of its report.
        report: Package of the worker's ``report`` that makes the report.
    """

    kind: str
    plural: str
    short: str
    spec: type[RunSpec]
    description: str
    columns: tuple[Column, ...]
    score: tuple[str, ...]
    title: str
    report: str


SELF_REWARD = Kind(
    kind="SelfRewardRun",
    plural="selfrewardruns",
    short="srr",
    spec=SelfRewardSpec,
    description="A SelfRewardRun improves a language model by its own judgements: it writes "
    "prompts, answers them, judges the answers, and learns from its preferences by DPO, again and "
    "again (Self-Rewarding Language Models, arXiv 2401.10020).",
    columns=(
        Column(heading="Pairs", figure="pairs", form="{}"),
        Column(heading="Mean score", figure="mean_score", form="{:.2f}"),
        Column(heading="Oracle quality", figure="quality", form="{:.2f}"),
        Column(heading="Win rate", figure="win_rate", form="{:.0%}"),
        Column(heading="Length", figure="length_ratio", form="{:.2f}x"),
        Column(heading="Judge accuracy", figure="judge_accuracy", form="{:.1%}"),
    ),
    score=("quality", "judge_accuracy"),
    title="Self-Rewarding run",
    report="selfreward",
)

REFT = Kind(
    kind="ReFTRun",
    plural="reftruns",
    short="reft",
    spec=ReFTSpec,
    description="A ReFTRun teaches a language model to reason: after an SFT warm-up on chains of "
    "thought it samples many ways to each answer and learns by PPO from whether the answer is "
    "right (ReFT, arXiv 2401.08967).",
    columns=(
        Column(heading="Greedy", figure="accuracy", form="{:.1%}"),
        Column(heading="Vote", figure="vote_accuracy", form="{:.1%}"),
        Column(heading="Rerank", figure="rerank_accuracy", form="{:.1%}"),
    ),
    score=("accuracy",),
    title="ReFT run",
    report="reft",
)

KINDS = (SELF_REWARD, REFT)

BY_KIND = {row.kind: row for row in KINDS}
