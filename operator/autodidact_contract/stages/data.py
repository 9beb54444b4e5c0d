"""Configs of the stages that bring data in, or make rows of rows without weights to train."""

from typing import Literal

from pydantic import Field

from autodidact_contract.stages.answers import Answers
from autodidact_contract.stages.base import Sampling, StageConfig


class Import(StageConfig):
    """Brings a model or a data set into the store after checking its format. Inputs: none."""

    stage: Literal["import"] = "import"
    uri: str
    content: Literal[
        "model", "instructions", "evaluations", "ranked", "questions", "trees", "prompts"
    ]


class PrepareQuestions(StageConfig):
    """Checks questions and renders them as prompts and targets. Reads no weights.

    Inputs: questions, model (its tokenizer alone is read), others? (an earlier split, to count what
    overlaps).

    Attributes:
        split: What the questions are for; ``train`` needs their reasoning.
        max_question_tokens: Longer prompts are refused, naming them.
        max_length: Prompt and target together; longer rows are counted.
    """

    stage: Literal["prepare-questions"] = "prepare-questions"
    split: Literal["train", "validation", "test"]
    answers: Answers
    max_question_tokens: int
    max_length: int


class BuildSelfTraining(StageConfig):
    """Offline self-training's rows: right samples, each text once, and the gold rows. No torch.

    Inputs: samples, questions. Source: arXiv 2401.08967 section 4.2.

    Attributes:
        keep: Right samples of a question at most.
    """

    stage: Literal["build-self-training"] = "build-self-training"
    keep: int = Field(ge=1)


class BuildSeed(StageConfig):
    """One part of the seed data in ranked conversation trees. Inputs: trees. No torch.

    The parts have no prompt in common, whatever the seed: it changes nothing.

    Attributes:
        part: ``instructions`` (rows as for SFT), ``judged`` (rankings for ``judge-ranked``),
            ``held-out`` (rankings that measure the judge) or ``validation`` (prompts).
    """

    stage: Literal["build-seed"] = "build-seed"
    part: Literal["instructions", "judged", "held-out", "validation"]
    language: str
    instructions: int
    instruction_share: float
    held_out_share: float
    validation_prompts: int


class ComparePrompts(StageConfig):
    """How many held-out prompts are among the others. Inputs: heldout; any data sets. No torch."""

    stage: Literal["compare-prompts"] = "compare-prompts"


class BuildEft(StageConfig):
    """Judgements that agree with people, rebalanced: evaluations. Inputs: judged. No torch.

    Source: arXiv 2401.10020 section 3.1.1.
    """

    stage: Literal["build-eft"] = "build-eft"
    agreement: Literal["no-inversion", "strict"]
    max_score_share: float


class GeneratePrompts(StageConfig):
    """New prompts by few-shot. Inputs: model (the writer), instructions, accepted-<n> (earlier)."""

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

    Inputs: judged, or samples (of questions, scored 1 where right, 0 where wrong);
    judged-by-previous? for ``consistency``; anchors? (judged replies of M1) for the loser.

    Attributes:
        rho: Length control of arXiv 2407.19594 section 2.3; None: off.
        max_chosen_length: Characters of a winner at most.
        consistency: Write to each pair how far the rankings of judged and judged-by-previous agree.
    """

    stage: Literal["build-pairs"] = "build-pairs"
    tie_break: Literal["random", "shortest", "lowest-variance"]
    min_score_gap: float
    exclude_truncated: bool
    rho: float | None = Field(None, ge=0, le=0.5)
    max_chosen_length: int | None = None
    consistency: Literal[True] | None = None


class BuildPositives(StageConfig):
    """Replies with the best score, as instructions. Inputs: judged. No torch.

    Source: arXiv 2401.10020 section 2.4.
    """

    stage: Literal["build-positives"] = "build-positives"
    rubric: str


class BuildJudgePairs(StageConfig):
    """Best and worst judgement of each prompt, by Elo. Inputs: battles, pairs. No torch.

    Attributes:
        max_share: Share of judgement pairs in all pairs at most; the input pairs are counted.
        max_score_share: Share of the judgement pairs whose winners give one score.
        max_chosen_length: Characters of a winning judgement at most.
    """

    stage: Literal["build-judge-pairs"] = "build-judge-pairs"
    rubric: str
    max_share: float
    max_score_share: float
    max_chosen_length: int
