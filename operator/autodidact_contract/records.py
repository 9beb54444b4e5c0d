"""Rows of the artifacts, one JSON object a line. Text fields are never trimmed or re-encoded."""

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from autodidact_contract.base import Schema


class Instruction(Schema):
    """Seed row for instruction following (IFT): what a person asked and the reply to learn."""

    prompt: str = Field(min_length=1)
    response: str = Field(min_length=1)


class Evaluation(Schema):
    """Seed row for evaluation following (EFT): a reply, its judgement and the score it ends in."""

    prompt: str = Field(min_length=1)
    response: str = Field(min_length=1)
    judgement: str = Field(min_length=1, description="Justification; ends in its score line.")
    score: float = Field(ge=0)


class RankedReplies(Schema):
    """Held-out row: replies to one prompt and their human ranks."""

    prompt: str = Field(min_length=1)
    replies: tuple[str, ...] = Field(min_length=2)
    ranks: tuple[int, ...] = Field(min_length=2, description="1 is the best; ties may share one.")

    @model_validator(mode="after")
    def _one_rank_each(self) -> "RankedReplies":
        if len(self.ranks) != len(self.replies):
            raise ValueError(f"{len(self.replies)} replies but {len(self.ranks)} ranks")
        return self


class SeedPrompt(Schema):
    """A prompt without a reply."""

    prompt: str = Field(min_length=1)


class Message(Schema):
    """A message of a conversation in Open Assistant's layout; its other fields are not read.

    Attributes:
        rank: Among the replies to its parent, 0 the best; None: nobody ranked it.
        replies: Inside a tree; a row that is one message names its parent instead.
    """

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    message_id: str = Field(min_length=1)
    parent_id: str | None = None
    text: str
    role: Literal["prompter", "assistant"]
    lang: str
    rank: int | None = None
    deleted: bool = False
    replies: tuple["Message", ...] = ()


class Conversation(Schema):
    """A tree of messages in Open Assistant's layout."""

    model_config = ConfigDict(extra="ignore", alias_generator=None)

    message_tree_id: str = Field(min_length=1)
    prompt: Message


class Prompt(Schema):
    """A prompt the generator wrote and the filters accepted."""

    id: str = Field(description="First 16 hexadecimal digits of the sha256 of the prompt.")
    prompt: str
    demonstrations: tuple[str, ...] = Field(description="Ids of the prompts shown as examples.")
    rouge_max: float = Field(description="Largest ROUGE-L F1 against seeds and accepted prompts.")


class Response(Schema):
    """One sampled reply."""

    id: str = Field(description="<prompt id>-<index>.")
    prompt_id: str
    prompt: str
    index: int
    text: str
    tokens: int
    finish: Literal["stop", "length"]


Reason = Literal["ok", "no-score", "out-of-range", "fraction", "bad-denominator", "truncated"]
"""Why a judgement has its value, or none."""


class Vote(Schema):
    """One judgement of one reply."""

    text: str
    score: float | None
    reason: Reason


class Judged(Schema):
    """A reply with all its votes; ``score`` is the mean of the valid ones, None when too few."""

    id: str
    prompt_id: str
    prompt: str
    text: str
    finish: Literal["stop", "length"]
    votes: tuple[Vote, ...]
    score: float | None


class JudgedRanking(Schema):
    """Replies that people ranked, with judgements of a model.

    Attributes:
        votes: Of each reply, one for each attempt; empty where the reply is too long to judge.
    """

    prompt_id: str
    prompt: str
    replies: tuple[str, ...]
    ranks: tuple[int, ...]
    votes: tuple[tuple[Vote, ...], ...]


class JudgementBattle(Schema):
    """Two judgements of one reply, compared in both orders.

    Attributes:
        first: Index of a vote of the reply.
        second: Index of another one.
        verdicts: Of the order as it is, then of the reverse; which vote is better, None: unreadable.
    """

    first: int
    second: int
    verdicts: tuple[Literal["first", "second", "tie"] | None, ...]


class JudgedJudgements(Schema):
    """A judged reply whose judgements were compared; the votes are those of ``Judged``."""

    id: str
    prompt_id: str
    prompt: str
    text: str
    votes: tuple[Vote, ...]
    battles: tuple[JudgementBattle, ...]


class Pair(Schema):
    """A preference pair: best and worst reply to one prompt.

    Attributes:
        consistency: Share in which the pair counts as it is; the rest counts the other way round.
    """

    prompt_id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_id: str
    rejected_id: str
    chosen_score: float
    rejected_score: float
    consistency: float = 1.0


class Ranking(Schema):
    """The judge's scores of one held-out prompt beside the human ranks."""

    prompt_id: str
    ranks: tuple[int, ...]
    scores: tuple[float | None, ...]


class Battle(Schema):
    """One prompt answered by the model and by an opponent, compared in both orders."""

    opponent: Literal["previous", "first", "baseline"]
    prompt_id: str
    prompt: str
    ours: str
    theirs: str
    verdicts: tuple[Literal["win", "tie", "loss", "invalid"], ...]
    result: Literal["win", "tie", "loss"]
    quality: float | None = Field(None, description="Task oracle's value of our reply, if any.")


class Question(Schema):
    """Seed row for ReFT: a question, one way to its answer, and the answer."""

    id: str = Field(min_length=1, max_length=256)
    question: str = Field(min_length=1)
    reasoning: str = Field(
        "",
        description="Chain of thought, or the body of solution() for programs; needed to train.",
    )
    answer: str = Field(min_length=1)
    options: tuple[str, ...] = Field((), description="Letters of the options of a choice.")


class Problem(Schema):
    """A question as the model sees it.

    Attributes:
        prompt: What the model continues, before any chat template.
        target: What SFT teaches it to write; empty where the seed row had no reasoning.
        answer: The gold answer as the seed row had it.
    """

    id: str
    question: str
    prompt: str
    target: str
    answer: str
    options: tuple[str, ...] = ()


ReadReason = Literal[
    "ok",
    "no-trigger",
    "empty",
    "not-a-number",
    "not-finite",
    "not-an-option",
    "no-solution",
    "raised",
    "timeout",
    "memory",
    "output",
    "killed",
    "no-value",
]
"""Why an answer has its value, or none."""


class AnswerSample(Schema):
    """One answer to a question. ``value`` is None where none could be read."""

    id: str = Field(description="<question id>/<index>; index -1 is the greedy one.")
    question_id: str
    prompt: str
    index: int
    text: str
    tokens: int
    finish: Literal["stop", "length"]
    value: str | None
    reason: ReadReason
    correct: bool
    gold: str


class Verdict(Schema):
    """What became of a test question. None: no readable answer, or none was asked for.

    Attributes:
        gold: The gold answer.
        greedy: Value of the greedy answer.
        vote: Value that most samples have.
        votes: Samples that have it.
        valid: Samples with a readable answer.
        curve: Whether the vote of the first 1, 2, 4, ... samples, and at last of all, is right.
    """

    question_id: str
    gold: str
    greedy: str | None
    greedy_correct: bool | None
    vote: str | None
    vote_correct: bool | None
    votes: int
    valid: int
    samples: int
    curve: tuple[bool, ...] = ()


class Reranked(Schema):
    """The answer to a test question that the reranker likes best.

    Attributes:
        gold: The gold answer.
        value: Its value; None where no sample had a readable one.
        probability: Of being right, as the reranker says.
        candidates: Different readable samples it chose from.
    """

    question_id: str
    gold: str
    value: str | None
    correct: bool
    probability: float | None
    candidates: int
