"""Stage ``judge`` on a random tiny model."""

from typing import Any

from autodidact_contract.records import (
    Judged,
    Vote,
)
from autodidact_worker.judging.scores import Scores
from autodidact_worker.stages.judge import count
from support.sampling_stages import PROMPTS, judged, pairs_config


def test_a_judge_that_never_gives_a_score_leaves_all_unscored(
    bench: Any, stages: dict[str, Any]
) -> None:
    """With a random judge every vote is invalid with a reason, and pairs are none."""
    config, inputs = stages["judge"]
    short = config.model_copy(update={"rubric": "short-v1"})
    given = bench.run(short, **inputs)
    counts = bench.result(given).counts
    assert counts["judgements"] == 3 * 2 * PROMPTS
    invalid = sum(n for name, n in counts.items() if name.startswith("invalid-"))
    assert counts.get("parsed", 0) == 0
    assert invalid == counts["judgements"]
    assert counts["unscored"] == counts["responses"] == 2 * PROMPTS
    assert bench.result(given).metrics["score"] is None
    done = bench.result(bench.run(pairs_config(), judged=given))
    assert (done.counts["pairs"], done.counts["dropped-unscored"]) == (0, PROMPTS)
    assert done.metrics["gap"] is None


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
