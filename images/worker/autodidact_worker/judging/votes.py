"""Has a model vote on replies: several sampled judgements of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autodidact_contract.records import Vote
from autodidact_contract.stages.base import Sampling
from autodidact_worker.generation import Generator, Request, Tick
from autodidact_worker.judging import judgement
from autodidact_worker.judging.rubrics import Rubric


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """A reply to vote on.

    Attributes:
        id: Names it in errors.
        seed_key: Everything the noise depends on besides the vote's index.
    """

    id: str
    prompt: str
    response: str
    seed_key: str


def cast(
    generator: Generator,
    rubric: Rubric,
    ballots: Sequence[Ballot],
    sampling: Sampling,
    *,
    votes: int,
    fractional: bool,
    tick: Tick = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[tuple[Vote, ...]]:
    """Returns the votes on each reply, in order; none on one that is too long to judge.

    Raises:
        StoppedError: ``stopping`` said so before all were made.
    """
    asked = [judgement.render(rubric, ballot.prompt, ballot.response) for ballot in ballots]
    requests = {
        place: Request(id=ballot.id, prompt=prompt, n=votes, seed_key=ballot.seed_key)
        for place, (ballot, prompt) in enumerate(zip(ballots, asked, strict=True))
        if generator.fits(prompt, sampling)
    }
    found = generator.generate(list(requests.values()), sampling, tick, stopping)
    said = dict(zip(requests, found, strict=True))
    return [
        tuple(
            judgement.vote(rubric, one.text, one.finish, fractional=fractional)
            for one in said.get(place, ())
        )
        for place in range(len(ballots))
    ]
