"""Compares two models' replies to the same prompts.

Both models sample with the same noise, so equal models give equal replies. A judge sees the two in
both orders; a meeting is won when both verdicts agree, anything else is a tie. Equal replies need
no judge. Source: arXiv 2401.10020, sections 3.1.3 and 3.2.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from autodidact_contract.stages.judging import Contest
from autodidact_worker import generation
from autodidact_worker.generation import Generator, Request, Tick, seed_key
from autodidact_worker.generation.chat import ChatGenerator
from autodidact_worker.judging import judgement, rubrics
from autodidact_worker.judging.rubrics import Rubric
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError

Verdict = Literal["win", "tie", "loss", "invalid"]
Quality = Callable[[str, str], float]
"""A task's own measure of a reply to a prompt."""

_OURS: dict[str | None, Verdict] = {"A": "win", "B": "loss", "tie": "tie", None: "invalid"}
_THEIRS: dict[str | None, Verdict] = {"A": "loss", "B": "win", "tie": "tie", None: "invalid"}
_FEW = 10
"""Verdicts of which a server may leave any number unreadable."""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Two replies to one prompt."""

    prompt: str
    ours: str
    theirs: str

    @property
    def name(self) -> str:
        """The prompt's id."""
        return rows.text_id(self.prompt)

    @property
    def equal(self) -> bool:
        """Whether there is nothing to tell apart."""
        return self.ours.strip() == self.theirs.strip()


class Judge(Protocol):
    """Whoever tells which of two replies is better.

    Attributes:
        orders: Comparisons that a meeting costs at most.
    """

    orders: int

    def compare(
        self,
        meetings: Sequence[Meeting],
        tick: Tick = ...,
        stopping: Callable[[], bool] = ...,
    ) -> list[tuple[Verdict, ...]]:
        """Returns the verdicts of each meeting, one for each order of presentation."""


def result(verdicts: Sequence[Verdict]) -> Literal["win", "tie", "loss"]:
    """Returns who won: a win or loss only if all orders of presentation agree on it."""
    if verdicts and all(verdict == "win" for verdict in verdicts):
        return "win"
    if verdicts and all(verdict == "loss" for verdict in verdicts):
        return "loss"
    return "tie"


def answer(
    generator: Generator,
    prompts: Sequence[str],
    contest: Contest,
    seed: int,
    tick: Tick = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Returns one sampled reply to each prompt; the noise is a function of seed and prompt.

    Raises:
        UserError: ``PromptTooLong``.
        StoppedError: ``stopping`` said so.
    """
    requests = [
        Request(
            id=rows.text_id(prompt),
            prompt=prompt,
            n=1,
            seed_key=seed_key(seed, "evaluate/reply", rows.text_id(prompt)),
        )
        for prompt in prompts
    ]
    found = generator.generate(requests, contest.reply_sampling, tick, stopping)
    return [one.text for [one] in found]


def oracle(contest: Contest) -> Quality | None:
    """Returns the task's own measure of a reply where it decides, else None.

    Raises:
        UserError: ``InvalidConfig``: it is to decide and there is none.
    """
    if contest.judge != "oracle":
        return None
    module = rubrics.get(contest.rubric).oracle
    if module is None:
        raise UserError(
            "InvalidConfig",
            f"rubric {contest.rubric} has no oracle; choose another judge for the battles",
        )
    quality: Quality = importlib.import_module(module).quality
    return quality


def open_judge(contest: Contest, seed: int, referee: Path | None = None) -> Judge:
    """Returns the judge of a contest; no model is loaded and no server asked yet.

    Args:
        contest: Says who judges, and how.
        seed: Of the comparisons' noise.
        referee: The model that judges, where one does.

    Raises:
        UserError: ``InvalidConfig``: there is no such judge. ``InvalidSecret``.
    """
    quality = oracle(contest)
    if quality:
        return _Oracle(quality)
    rubric = rubrics.get(contest.rubric)
    if rubric.pairwise is None:
        raise UserError(
            "InvalidConfig",
            f"rubric {rubric.name} has no pairwise template; set the judge to oracle where the "
            "task has one",
        )
    if contest.judge == "server":
        if contest.server is None:
            raise UserError("InvalidConfig", "judge server needs a server; give its address")
        return _Server(ChatGenerator.open(contest.server), contest.server.url, contest, seed)
    if referee is None:
        raise UserError("InvalidConfig", "judge model needs the input referee; give the model")
    return _Model(referee, contest, seed)


class _Oracle:
    """Takes the reply with the better quality; there is but one order."""

    orders = 0

    def __init__(self, quality: Quality) -> None:
        self._quality = quality

    def compare(
        self,
        meetings: Sequence[Meeting],
        tick: Tick = lambda _: None,  # noqa: ARG002 - nothing is sampled
        stopping: Callable[[], bool] = lambda: False,  # noqa: ARG002 - takes no time
    ) -> list[tuple[Verdict, ...]]:
        return [(self._verdict(meeting),) for meeting in meetings]

    def _verdict(self, meeting: Meeting) -> Verdict:
        ours = self._quality(meeting.prompt, meeting.ours)
        theirs = self._quality(meeting.prompt, meeting.theirs)
        return "win" if ours > theirs else "loss" if ours < theirs else "tie"


class _Model:
    """Asks a model of ours; it stays loaded unless another one is loaded."""

    orders = 2

    def __init__(self, path: Path, contest: Contest, seed: int) -> None:
        self._path, self._contest, self._seed = path, contest, seed

    def compare(
        self,
        meetings: Sequence[Meeting],
        tick: Tick = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[tuple[Verdict, ...]]:
        if all(meeting.equal for meeting in meetings):
            return [("tie", "tie")] * len(meetings)
        generator = generation.load(self._path)
        return _asked(generator, meetings, self._contest, self._seed, tick, stopping)


class _Server:
    """Asks a server, and gives it up where most of what it says cannot be read."""

    orders = 2

    def __init__(self, generator: ChatGenerator, url: str, contest: Contest, seed: int) -> None:
        self._generator, self._url = generator, url
        self._contest, self._seed = contest, seed
        self._said = self._unreadable = 0

    def compare(
        self,
        meetings: Sequence[Meeting],
        tick: Tick = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[tuple[Verdict, ...]]:
        """Returns the verdicts.

        Raises:
            UserError: ``JudgeUnreadable``, ``ServerRefused``, see ``generation.chat``.
        """
        found = _asked(self._generator, meetings, self._contest, self._seed, tick, stopping)
        self._said += 2 * sum(not meeting.equal for meeting in meetings)
        self._unreadable += sum(verdicts.count("invalid") for verdicts in found)
        if self._said >= _FEW and self._unreadable > self._said / 2:
            trouble = self._generator.trouble or "the replies end in no verdict"
            raise UserError(
                "JudgeUnreadable",
                f"{self._unreadable} of {self._said} verdicts of the judge at {self._url} cannot "
                f"be read ({trouble}); raise judge.maxNewTokens if they are cut, or choose "
                "another model or judge",
            )
        return found


def _asked(
    generator: Generator,
    meetings: Sequence[Meeting],
    contest: Contest,
    seed: int,
    tick: Tick,
    stopping: Callable[[], bool],
) -> list[tuple[Verdict, ...]]:
    """Returns two verdicts a meeting: ours shown first, then ours shown second.

    A comparison that is too long for the judge is one that it cannot read, and so invalid.
    """
    rubric = rubrics.get(contest.rubric)
    requests = [
        request
        for meeting in meetings
        if not meeting.equal
        for request in _comparisons(rubric, meeting, seed)
        if generator.fits(request.prompt, contest.judge_sampling)
    ]
    found = generator.generate(requests, contest.judge_sampling, tick, stopping)
    said = {
        request.id: judgement.verdict(one.text)
        for request, [one] in zip(requests, found, strict=True)
    }
    return [
        ("tie", "tie")
        if meeting.equal
        else (_OURS[said.get(_order(meeting, 0))], _THEIRS[said.get(_order(meeting, 1))])
        for meeting in meetings
    ]


def _comparisons(rubric: Rubric, meeting: Meeting, seed: int) -> list[Request]:
    shown = ((meeting.ours, meeting.theirs), (meeting.theirs, meeting.ours))
    return [
        Request(
            id=_order(meeting, order),
            prompt=judgement.render_pair(rubric, meeting.prompt, first, second),
            n=1,
            seed_key=seed_key(seed, "evaluate/battle", f"{meeting.name}-{order}"),
        )
        for order, (first, second) in enumerate(shown)
    ]


def _order(meeting: Meeting, order: int) -> str:
    return f"{meeting.name}-order-{order}"
