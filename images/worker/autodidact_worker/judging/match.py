"""A match of models: compares and measures their replies to the same prompts.

A model is named by its identity, which two inputs have in common that are the same model. Its
replies are sampled once, and its battles are fought once, whatever its inputs are called.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Battle, RankedReplies
from autodidact_contract.stages.judging import OPPONENTS, Evaluate
from autodidact_worker import generation
from autodidact_worker.generation import Generator
from autodidact_worker.judging import contests
from autodidact_worker.judging.contests import Judge, Meeting, Quality, Verdict
from autodidact_worker.runtime.frame import Context
from autodidact_worker.runtime.progress import Ticks


@dataclass(kw_only=True)
class HeldOut:
    """Held-out prompts of one part file.

    Attributes:
        number: Number of the part.
        rows: Its rows.
        prompts: The first so many prompts, which the models answer.
        replies: Their replies, by the identity of the model.
    """

    number: int
    rows: list[RankedReplies]
    prompts: list[str]
    replies: dict[str, list[str]] = field(default_factory=dict)


def identity(context: Context[Evaluate], name: str) -> str:
    """Returns what two inputs have in common that are the same model; empty without the input."""
    artifact = context.inputs.get(name)
    return (artifact.digest or str(artifact.path)) if artifact else ""


class Phases(Ticks):
    """Progress over all phases of an evaluation, in completions, and what samples in them.

    Attributes:
        engine: What samples, as the generator says it.
    """

    def __init__(
        self, context: Context[Evaluate], parts: list[HeldOut], judge: Judge | None
    ) -> None:
        config = context.config
        asked = sum(len(part.prompts) for part in parts)
        judged = sum(len(row.replies) for part in parts for row in part.rows) * config.votes
        models = {identity(context, name) for name in ("model", *OPPONENTS)} - {""}
        oracle = config.contest.judge == "oracle"
        answered = len(models) + oracle if judge or oracle else 0
        fought = judge.orders * (len(models) - 1) if judge else 0
        super().__init__(context.progress, judged + (answered + fought) * asked)
        self._inputs = context.inputs
        self.engine = ""

    def generator(self, model: str) -> Generator:
        """Returns the generator on an input model, for the next phase."""
        found = generation.load(self._inputs[model].path)
        self.engine = found.engine
        return found


def figures(
    parts: Sequence[HeldOut], ours: str, first: str | None, quality: Quality | None
) -> dict[str, Mean]:
    """Returns length and quality of our replies; the ratio of lengths adds up over shards too.

    Args:
        parts: With the replies.
        ours: Identity of the model that is evaluated.
        first: Identity of the first model of the run, where it is an opponent.
        quality: The task's own measure, where it has one.
    """
    replies = [
        (prompt, reply)
        for part in parts
        for prompt, reply in zip(part.prompts, part.replies[ours], strict=True)
    ]
    weight, characters = float(len(replies)), float(sum(len(reply) for _, reply in replies))
    found = {"replyLength": Mean(total=characters, weight=weight)}
    if first:
        # The same number of replies on both sides: the ratio of the sums is that of the means.
        theirs = sum(len(reply) for part in parts for reply in part.replies[first])
        found["lengthRatio"] = Mean(total=characters, weight=float(theirs))
    if quality:
        found["quality"] = mean_quality(replies, quality)
    return found


def mean_quality(replies: Iterable[tuple[str, str]], quality: Quality) -> Mean:
    """Returns the mean quality of replies, given with their prompts."""
    values = [quality(prompt, reply) for prompt, reply in replies]
    return Mean(total=sum(values), weight=float(len(values)))


def fight(
    part: HeldOut,
    ours: str,
    opponents: dict[str, str],
    compare: Callable[[list[Meeting]], list[tuple[Verdict, ...]]],
    quality: Quality | None,
) -> list[Battle]:
    """Returns the battles of a part, by opponent.

    Args:
        part: With the replies of all models.
        ours: Identity of the model that is evaluated.
        opponents: Identity of each opponent by its name.
        compare: Returns the verdicts of meetings.
        quality: The task's own measure, where it has one.
    """
    battles: list[Battle] = []
    known: dict[str, list[tuple[Verdict, ...]]] = {}
    for opponent, theirs in opponents.items():
        met = _meetings(part, ours, theirs)
        if theirs not in known:
            known[theirs] = compare(met)
        battles += [
            Battle(
                opponent=opponent,
                prompt_id=meeting.name,
                prompt=meeting.prompt,
                ours=meeting.ours,
                theirs=meeting.theirs,
                verdicts=verdicts,
                result=contests.result(verdicts),
                quality=quality(meeting.prompt, meeting.ours) if quality else None,
            )
            for meeting, verdicts in zip(met, known[theirs], strict=True)
        ]
    return battles


def _meetings(part: HeldOut, ours: str, theirs: str) -> list[Meeting]:
    return [
        Meeting(prompt=prompt, ours=our, theirs=their)
        for prompt, our, their in zip(
            part.prompts, part.replies[ours], part.replies[theirs], strict=True
        )
    ]
