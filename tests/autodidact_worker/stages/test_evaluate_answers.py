"""Greedy and voted accuracy, question by question and over shards."""

from collections.abc import Callable
from typing import Any

import pytest

from autodidact_contract.records import Verdict
from autodidact_contract.stages.answers import Answers, EvaluateAnswers
from autodidact_worker.answers.majority import checkpoints
from autodidact_worker.runtime import rows
from support.sampled_answers import NUMBERS, answers
from support.sampling_stages import run_in_process


@pytest.mark.parametrize(
    ("samples", "looked"), [(0, ()), (1, (1,)), (4, (1, 2, 4)), (6, (1, 2, 4, 6))]
)
def test_votes_are_looked_at_in_powers_of_two_and_at_last(
    samples: int, looked: tuple[int, ...]
) -> None:
    """The curve always ends in the vote of all samples."""
    assert checkpoints(samples) == looked


def given(bench: Any) -> dict[str, Any]:
    """150 questions of four samples: the vote is right in two of three, greedy in one of five."""
    files = {}
    for part in range(3):
        made = [
            row
            for i in range(part * 64, min(150, part * 64 + 64))
            for row in answers(
                "4",
                *(("5", "5", None) if i % 3 else ("4", "5", "5")),
                greedy="4" if i % 5 else "5",
                name=f"q-{i}",
            )
        ]
        lines = [row.model_dump_json(by_alias=True).encode() + b"\n" for row in made]
        files[f"samples-{part:05d}.jsonl"] = b"".join(lines)
    return {"samples": bench.put("sample", files)}


def test_shards_add_up_to_the_same_accuracies(new_bench: Callable[[str], Any]) -> None:
    """One, two and four shards: the same files, counts and means, known by hand."""
    digests = set()
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        made = bench.result(
            bench.run(EvaluateAnswers(answers=NUMBERS), shards=shards, **given(bench))
        )
        digests.add(made.digest)
        assert made.counts == {
            "questions": 150,
            "greedy": 150,
            "greedy-correct": 30,
            "votes": 150,
            "vote-correct": 100,
            "valid": 100 * 3 + 50 * 4,
        }
        assert made.metrics == pytest.approx(
            {
                "greedyAccuracy": 0.2,
                "voteAccuracy": 2 / 3,
                "voteAccuracy@1": 0,
                "voteAccuracy@2": 0,
                "voteAccuracy@4": 2 / 3,
            }
        )
    assert len(digests) == 1


def test_verdicts_keep_the_order_of_the_questions(bench: Any) -> None:
    """One row a question in the parts of the samples."""
    folder = bench.fetch(bench.run(EvaluateAnswers(answers=NUMBERS), **given(bench)))
    found = [row for _, part in rows.read_parts(folder, "verdicts", Verdict) for row in part]
    assert [row.question_id for row in found] == [f"q-{i}" for i in range(150)]


def test_accuracies_of_programs_need_no_sandbox_and_no_torch(bench: Any) -> None:
    """Votes compare values that were read when the programs ran."""
    programs = NUMBERS.model_copy(update={"reasoning": "program"})
    forbidden = ("torch", "transformers", "trl", "autodidact_worker.sandbox")
    run_in_process(bench, EvaluateAnswers(answers=programs), given(bench), forbidden)


def test_formulas_vote_together(bench: Any) -> None:
    """With answers.latex two ways to write one number are one vote."""
    rules = Answers(rules="robust", kind="text", latex=True)
    sampled = answers("2", r"$\frac{1}{2}$", "$0.5$", gold=r"$\frac{1}{2}$")
    lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in sampled)
    done = bench.run(
        EvaluateAnswers(answers=rules),
        samples=bench.put("sample", {"samples-00000.jsonl": lines}),
    )
    [found] = rows.read(bench.fetch(done) / "verdicts-00000.jsonl", Verdict)
    assert (found.vote, found.votes, found.vote_correct) == (r"$\frac{1}{2}$", 2, True)
