"""Replies whose judgements differ, and battles of judgements."""

from collections.abc import Sequence
from typing import Any

from autodidact_contract.records import Judged, JudgementBattle, Vote
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.data import BuildJudgePairs
from autodidact_contract.stages.judging import MetaJudge
from autodidact_contract.task import Input
from autodidact_worker.judging import rubrics
from autodidact_worker.runtime import rows

ADDITIVE, TOY = rubrics.get("additive-v1"), rubrics.get("toy-copy-v1")


def config(**changes: Any) -> BuildJudgePairs:
    """No cap is in the way."""
    values = {
        "rubric": "toy-copy-v1",
        "max_share": 0.5,
        "max_score_share": 1.0,
        "max_chosen_length": 100,
    }
    return BuildJudgePairs(**values | changes)


def vote(score: float | None, text: str = "") -> Vote:
    """A judgement."""
    reason = "ok" if score is not None else "no-score"
    return Vote(text=text or f"because={score}", score=score, reason=reason)


def judged(name: str, votes: Sequence[Vote], prompt: str = "p") -> Judged:
    """A reply with these judgements."""
    scores = [one.score for one in votes if one.score is not None]
    return Judged(
        id=name,
        prompt_id=prompt,
        prompt="Aabcde:",
        text="abcde",
        finish="stop",
        votes=tuple(votes),
        score=sum(scores) / len(scores) if scores else None,
    )


def battle(first: int, second: int, *verdicts: Any) -> JudgementBattle:
    """A battle with the verdicts of both orders."""
    return JudgementBattle(first=first, second=second, verdicts=verdicts)


def put(bench: Any, kind: str, stem: str, values: Sequence[Any], part: int = 1000) -> Input:
    """Publishes rows in parts of so many, one at least."""
    files = {}
    for number in range(max(1, -(-len(values) // part))):
        chunk = values[number * part : (number + 1) * part]
        lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in chunk)
        files[f"{stem}-{number:05d}.jsonl"] = lines
    given: Input = bench.put(kind, files)
    return given


def read(bench: Any, given: Input, stem: str, schema: Any) -> list[Any]:
    """All rows of an artifact."""
    parts = rows.read_parts(bench.fetch(given), stem, schema)
    return [row for _, part in parts for row in part]


META = MetaJudge(
    rubric="toy-copy-v1", sampling=Sampling(temperature=0.7, top_p=0.9, max_new_tokens=10)
)


def disputed(count: int) -> list[Judged]:
    """Replies, one a prompt, with three judgements each."""
    votes = [vote(3, "yynny=3"), vote(4, "yyyyn=4"), vote(1, "nnnny=1")]
    return [judged(f"p{i}-0", votes, prompt=f"p{i}") for i in range(count)]
