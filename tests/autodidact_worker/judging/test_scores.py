from typing import Any

from autodidact_contract.records import (
    Judged,
    Vote,
)
from autodidact_worker.judging.scores import Scores
from autodidact_worker.stages.judge import count
from support.sampling_stages import judged


def test_counts_of_the_judge_are_what_its_rows_say() -> None:
    """Histogram rounds down, ties are prompts of equal scores, reasons are counted."""

    def with_votes(row: Judged, *reasons: Any) -> Judged:
        votes = tuple(Vote(text="", score=4.0 if r == "ok" else None, reason=r) for r in reasons)
        return row.model_copy(update={"votes": votes})

    rows_given = [
        with_votes(judged(0, 0, 4.0), "ok", "fraction"),
        with_votes(judged(0, 1, 4.0), "ok", "ok"),
        with_votes(judged(1, 0, 4.67), "ok", "ok"),
        with_votes(judged(1, 1, None), "truncated", "truncated"),
        judged(2, 0, None),
    ]
    scores = Scores()
    scores.add(rows_given)
    assert count(rows_given) + scores.counts == {
        "responses": 5,
        "judgements": 8,
        "parsed": 5,
        "prompts": 3,
        "ties": 1,
        "invalid-fraction": 1,
        "invalid-truncated": 2,
        "unscored": 2,
        "score-4": 3,
        "votes-4": 5,
        "skipped-too-long": 1,
    }
