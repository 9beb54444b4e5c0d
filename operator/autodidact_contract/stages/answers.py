"""Configs of the stages of ReFT that answer questions, grade and re-rank."""

from typing import ClassVar, Literal

from pydantic import Field

from autodidact_contract.base import Schema
from autodidact_contract.stages.base import (
    GRADER_COUNTS,
    Compute,
    Names,
    Sampling,
    StageConfig,
    Takes,
)


class Answers(Schema):
    """How an answer is read out of a completion, and when it equals the gold answer.

    Attributes:
        rules: ``rcCompat`` is the published ReFT code to the letter, ``robust`` what people mean.
        kind: What an answer is.
        percent: Whether "18%" is 18 (``strip``) or no number (``reject``); robust numbers only.
        latex: Whether texts are also compared as formulas, by math-verify in a process of its own.
        reasoning: ``language``: the text after the last trigger; ``program``: what ``solution()``
            returns, run in the sandbox.
    """

    rules: Literal["rcCompat", "robust"]
    kind: Literal["number", "choice", "text"]
    percent: Literal["strip", "reject"] = "reject"
    latex: bool = False
    reasoning: Literal["language", "program"] = "language"
    program_seconds: float = Field(10.0, gt=0, description="Wall clock limit of one program.")


class Reward(Schema):
    """The terminal reward (arXiv 2401.08967 section 3.1): 1 right, ``partial`` readable, else 0.

    Attributes:
        partial: Reward of a wrong answer that could be read.
        partial_when: ``numeric``: of answers of kind number only, as the paper says; ``always``: as
            the published code does.
        missing_eos_penalty: Subtracted from the reward of an answer that was cut.
    """

    partial: float = Field(ge=0, lt=1)
    partial_when: Literal["numeric", "always"]
    missing_eos_penalty: float = Field(0.0, ge=0)


class Sample(StageConfig):
    """Answers to questions, each with the value read out of it.

    Attributes:
        per_question: Sampled answers of each question; 0: none.
        greedy: Whether one greedy answer is written as well, with index -1.
    """

    TAKES: ClassVar = (Takes("model"), Takes("questions"))
    COUNTS: ClassVar[Names] = (
        "questions",
        "answers",
        "tokens",
        "truncated",
        "unique-texts",
        *GRADER_COUNTS,
    )
    METRICS: ClassVar[Names] = ("accuracy", "greedyAccuracy", "uniqueValues", "tokens")
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True
    SAMPLES: ClassVar = True

    stage: Literal["sample"] = "sample"
    per_question: int = Field(ge=0)
    greedy: bool
    sampling: Sampling
    answers: Answers


class EvaluateAnswers(StageConfig):
    """Greedy and majority-vote accuracy.

    Source: arXiv 2401.08967 section 4.3.
    """

    TAKES: ClassVar = (Takes("samples"),)
    COUNTS: ClassVar[Names] = (
        "questions",
        "greedy",
        "greedy-correct",
        "votes",
        "vote-correct",
        "valid",
    )
    METRICS: ClassVar[Names] = ("greedyAccuracy", "voteAccuracy", "voteAccuracy@*")
    SHARDED: ClassVar = True

    stage: Literal["evaluate-answers"] = "evaluate-answers"
    answers: Answers


class RerankAnswers(StageConfig):
    """Accuracy of the answer that the reranker likes best.

    Source: arXiv 2401.08967 section 4.3.
    """

    TAKES: ClassVar = (Takes("samples"), Takes("reranker"))
    COUNTS: ClassVar[Names] = ("questions", "candidates", "truncated")
    METRICS: ClassVar[Names] = ("rerankAccuracy",)
    COMPUTE: ClassVar[Compute] = "generate"
    SHARDED: ClassVar = True

    stage: Literal["rerank-answers"] = "rerank-answers"
    answers: Answers
    max_length: int = Field(description="Tokens of prompt and answer that the reranker reads.")
