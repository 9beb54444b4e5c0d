"""Configs of the stages that bring data in, or make rows of rows without weights to train."""

from typing import ClassVar, Literal

from pydantic import Field

from autodidact_contract.stages.answers import Answers
from autodidact_contract.stages.base import (
    SANDBOX_COUNTS,
    Compute,
    Names,
    Sampling,
    StageConfig,
    Takes,
)


class Import(StageConfig):
    """Brings a model or a data set into the store after checking its format."""

    COUNTS: ClassVar[Names] = ("files", "bytes", "ignored", "rows", "duplicates")

    stage: Literal["import"] = "import"
    uri: str
    content: Literal[
        "model", "instructions", "evaluations", "ranked", "questions", "trees", "prompts"
    ]


class PrepareQuestions(StageConfig):
    """Checks questions and renders them as prompts and targets.

    Of the model the tokenizer alone is read. The input others is an earlier split: what is in both
    is counted.

    Attributes:
        split: What the questions are for; ``train`` needs their reasoning.
        max_question_tokens: Longer prompts are refused, naming them.
        max_length: Prompt and target together; longer rows are counted.
    """

    TAKES: ClassVar = (Takes("questions"), Takes("model"), Takes("others", optional=True))
    COUNTS: ClassVar[Names] = (
        "rows",
        "duplicates",
        "overlap",
        "too-long",
        "unproven",
        *SANDBOX_COUNTS,
    )

    stage: Literal["prepare-questions"] = "prepare-questions"
    split: Literal["train", "validation", "test"]
    answers: Answers
    max_question_tokens: int
    max_length: int


class BuildSelfTraining(StageConfig):
    """Offline self-training's rows: right samples, each text once, and the gold rows.

    Source: arXiv 2401.08967 section 4.2.

    Attributes:
        keep: Right samples of a question at most.
    """

    TAKES: ClassVar = (Takes("samples"), Takes("questions"))
    COUNTS: ClassVar[Names] = ("rows", "gold", "right", "unique", "solved", "self-taught")

    stage: Literal["build-self-training"] = "build-self-training"
    keep: int = Field(ge=1)


class BuildSeed(StageConfig):
    """One part of the seed data in ranked conversation trees.

    The parts have no prompt in common, whatever the seed: it changes nothing.

    Attributes:
        part: ``instructions`` (rows as for SFT), ``judged`` (rankings for ``judge-ranked``),
            ``held-out`` (rankings that measure the judge) or ``validation`` (prompts).
    """

    TAKES: ClassVar = (Takes("trees"),)
    COUNTS: ClassVar[Names] = (
        "rows",
        "prompts",
        "trees",
        "unprompted",
        "deleted",
        "other-language",
        "duplicates",
        "orphans",
        "cycles",
        "foreign-replies",
        "unanswered",
        "unranked",
    )

    stage: Literal["build-seed"] = "build-seed"
    part: Literal["instructions", "judged", "held-out", "validation"]
    language: str
    instructions: int
    instruction_share: float
    held_out_share: float
    validation_prompts: int


class ComparePrompts(StageConfig):
    """How many held-out prompts are in the other inputs, which are data sets."""

    TAKES: ClassVar = (Takes("heldout"),)
    TAKES_ANY: ClassVar = True
    COUNTS: ClassVar[Names] = ("prompts", "overlap", "overlap-*")

    stage: Literal["compare-prompts"] = "compare-prompts"


class BuildEft(StageConfig):
    """Judgements that agree with people, rebalanced: evaluations.

    Source: arXiv 2401.10020 section 3.1.1.
    """

    TAKES: ClassVar = (Takes("judged"),)
    COUNTS: ClassVar[Names] = ("prompts", "accepted", "rows", "rejected-*", "before-*", "after-*")
    METRICS: ClassVar[Names] = ("acceptance",)

    stage: Literal["build-eft"] = "build-eft"
    agreement: Literal["no-inversion", "strict"]
    max_score_share: float


class GeneratePrompts(StageConfig):
    """New prompts by few-shot, other ones than those accepted in earlier rounds."""

    TAKES: ClassVar = (
        Takes("model"),
        Takes("instructions"),
        Takes("accepted", optional=True, numbered=True),
    )
    COUNTS: ClassVar[Names] = (
        "accepted",
        "attempted",
        "rejected-*",
        "skipped-too-long",
        "first-words",
    )
    METRICS: ClassVar[Names] = ("distinct1", "distinct2", "rougeMax", "rougeHighest", "words")
    COMPUTE: ClassVar[Compute] = "generate"
    SAMPLES: ClassVar = True

    stage: Literal["generate-prompts"] = "generate-prompts"
    rubric: str
    count: int
    sampling: Sampling
    seed_demonstrations: int
    generated_demonstrations: int
    min_words: int
    max_words: int
    excluded_words: tuple[str, ...]
    max_rouge: float
    attempts_per_prompt: int


class BuildPairs(StageConfig):
    """Best and worst reply of each prompt.

    The replies are the input judged, or samples (of questions, scored 1 where right, 0 where
    wrong). The input judged-by-previous is for ``consistency``; anchors, judged replies of M1, may
    lose.

    Attributes:
        rho: Length control of arXiv 2407.19594 section 2.3; None: off.
        max_chosen_length: Characters of a winner at most.
        consistency: Write to each pair how far the rankings of judged and judged-by-previous agree.
    """

    TAKES: ClassVar = (
        Takes("judged", optional=True),
        Takes("samples", optional=True),
        Takes("judged-by-previous", optional=True),
        Takes("anchors", optional=True),
    )
    COUNTS: ClassVar[Names] = (
        "prompts",
        "pairs",
        "anchored",
        "length-controlled",
        "undefined-agreement",
        "dropped-*",
    )
    METRICS: ClassVar[Names] = (
        "gap",
        "chosenScore",
        "rejectedScore",
        "chosenLength",
        "rejectedLength",
        "score",
        "consistency",
    )

    stage: Literal["build-pairs"] = "build-pairs"
    tie_break: Literal["random", "shortest", "lowest-variance"]
    min_score_gap: float
    exclude_truncated: bool
    rho: float | None = Field(None, ge=0, le=0.5)
    max_chosen_length: int | None = None
    consistency: Literal[True] | None = None


class BuildPositives(StageConfig):
    """Replies with the best score, as instructions.

    Source: arXiv 2401.10020 section 2.4.
    """

    TAKES: ClassVar = (Takes("judged"),)
    COUNTS: ClassVar[Names] = ("responses", "positives", "prompts", "dropped-*")
    METRICS: ClassVar[Names] = ("score", "length")

    stage: Literal["build-positives"] = "build-positives"
    rubric: str


class BuildJudgePairs(StageConfig):
    """Best and worst judgement of each prompt, by Elo.

    Attributes:
        max_share: Share of judgement pairs in all pairs at most; the input pairs are counted.
        max_score_share: Share of the judgement pairs whose winners give one score.
        max_chosen_length: Characters of a winning judgement at most.
    """

    TAKES: ClassVar = (Takes("battles"), Takes("pairs"))
    COUNTS: ClassVar[Names] = ("pairs", "reply-pairs", "prompts", "dropped-*")
    METRICS: ClassVar[Names] = (
        "gap",
        "chosenLength",
        "rejectedLength",
        "chosenScore",
        "firstWeight",
    )

    stage: Literal["build-judge-pairs"] = "build-judge-pairs"
    rubric: str
    max_share: float
    max_score_share: float
    max_chosen_length: int
