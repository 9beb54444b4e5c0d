"""Several sampled judgements of each reply."""

from collections.abc import Generator as Stream
from collections.abc import Sequence

from autodidact_contract.stages.base import Sampling
from autodidact_worker.generation import Completion, Generator, Row
from autodidact_worker.judging import rubrics
from autodidact_worker.judging.votes import Ballot, cast

SAMPLING = Sampling(temperature=1, top_p=1, max_new_tokens=10)
ROOM = 2000


class Says(Generator):
    """Gives the same score to every reply, and has room for so many characters."""

    def __init__(self) -> None:
        super().__init__(tokenizer=None, context=ROOM, ends=())

    def _tokens(self, prompt: str) -> list[int]:
        return [0] * len(prompt)

    def _run(
        self, rows: list[Row], _: Sampling
    ) -> Stream[Sequence[tuple[Row, Completion]], None, None]:
        for row in rows:
            yield [(row, Completion(text="Score: 4", tokens=3, finish="stop"))]


def ballot(response: str) -> Ballot:
    """A reply to vote on."""
    return Ballot(id=response[:3], prompt="say a", response=response, seed_key=response[:3])


def test_every_reply_has_its_votes_in_its_place() -> None:
    """Two votes a reply, none on one that is too long to judge, and the order is kept."""
    ticks: list[int] = []
    found = cast(
        Says(),
        rubrics.get("additive-v1"),
        [ballot("a"), ballot("b" * ROOM), ballot("c")],
        SAMPLING,
        votes=2,
        fractional=False,
        tick=ticks.append,
    )
    assert [len(votes) for votes in found] == [2, 0, 2]
    assert {vote.score for votes in found for vote in votes} == {4.0}
    assert sum(ticks) == 4
