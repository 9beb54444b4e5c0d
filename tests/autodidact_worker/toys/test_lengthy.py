"""The built-in task whose judge likes long replies: its rows beside those of the plain one."""

from collections import Counter
from typing import Any

import pytest

from autodidact_contract.stages.data import Import
from autodidact_worker.judging import judgement, rubrics
from autodidact_worker.toys import copying, lengthy

RUBRIC = rubrics.get("toy-copy-v1")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("abcde", "yyyyn=4"),
        ("abcdeh", "yyyyy=5"),
        ("abcda", "yyyyn=4"),
        ("abcaah", "yyyny=4"),
        ("hhhhhh", "nnnny=1"),
        ("ab", "yynnn=2"),
    ],
)
def test_the_last_mark_is_for_length(reply: str, expected: str) -> None:
    """The first four are for their letters, and the score is their number."""
    assert lengthy.judgement("Aabcde:", reply) == expected


def test_replies_are_longer_and_all_else_is_the_same() -> None:
    """Half of the replies differ from the plain ones by one letter at the end."""
    plain, padded = copying.instructions(0), lengthy.instructions(0)
    more = Counter(
        len(long.response) - len(short.response)
        for short, long in zip(plain, padded, strict=True)
        if short.prompt.startswith("A")
    )
    assert set(more) == {0, 1}
    assert sum(more.elements()) / more.total() == pytest.approx(0.5, abs=0.03)
    for short, long in zip(plain, padded, strict=True):
        assert long.prompt == short.prompt
        assert long.response.startswith(short.response)
        assert short.prompt.startswith("A") or long.response == short.response


def test_every_judgement_parses_to_its_score() -> None:
    """A score is that of four letters and a point for the sixth, and the rubric reads it."""
    for row in lengthy.evaluations(3):
        right = sum(map(str.__eq__, row.prompt[1:5], row.response[:4]))
        assert row.score == right + (len(row.response) == 6)
        assert judgement.vote(RUBRIC, row.judgement, "stop").score == row.score


def test_held_out_ranks_stay_the_oracles() -> None:
    """Length counts for the judge alone."""
    for row in lengthy.held_out(0):
        scores = [copying.quality(row.prompt, reply) for reply in row.replies]
        by_rank = [score for _, score in sorted(zip(row.ranks, scores, strict=True))]
        assert by_rank == sorted(set(scores), reverse=True)
    assert {len(reply) for row in lengthy.held_out(0) for reply in row.replies} == {5, 6}


def test_the_import_stage_serves_it(bench: Any) -> None:
    """All four parts of a run's data are there."""
    for name, content, count in (
        ("instructions", "instructions", 3550),
        ("evaluations", "evaluations", 1630),
        ("heldout", "ranked", 256),
    ):
        made = bench.run(Import(uri=f"toy://selfreward-lengthy/{name}", content=content))
        assert bench.result(made).counts["rows"] == count
    bench.run(Import(uri="toy://selfreward-lengthy/model", content="model"))
