"""The stage that builds pairs, with all that it can be given."""

from collections.abc import Sequence
from typing import Any

import pytest

from autodidact_contract.records import AnswerSample, Judged, Pair
from autodidact_contract.stages.data import BuildPairs
from autodidact_contract.task import Input
from autodidact_worker.runtime import rows
from support.sampling_stages import judged, pairs_config, parts, run_in_process


def config(**changes: Any) -> BuildPairs:
    """The plain rule."""
    values = {"tie_break": "random", "min_score_gap": 0.0, "exclude_truncated": True}
    return BuildPairs(**values | changes)


def replies(*scores: Sequence[float | None], letter: str = "a") -> list[Judged]:
    """A judged reply for each score, a prompt for each sequence of scores."""
    return [
        Judged(
            id=f"p{number}-{index}",
            prompt_id=f"p{number}",
            prompt=f"prompt {number}",
            text=letter * (index + 1),
            finish="stop",
            votes=(),
            score=score,
        )
        for number, group in enumerate(scores)
        for index, score in enumerate(group)
    ]


def put(bench: Any, values: Sequence[Any], stem: str = "judged", part: int = 1000) -> Input:
    """Publishes rows in parts of so many."""
    files = {}
    for number in range(-(-len(values) // part)):
        chunk = values[number * part : (number + 1) * part]
        lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in chunk)
        files[f"{stem}-{number:05d}.jsonl"] = lines
    given: Input = bench.put("judge", files)
    return given


def made(bench: Any, given: Input) -> list[Pair]:
    """The pairs of an artifact."""
    return [row for _, part in rows.read_parts(bench.fetch(given), "pairs", Pair) for row in part]


def test_anchors_lose_in_their_own_prompts(bench: Any) -> None:
    """M1's replies are found by prompt, part by part, and do not take the names of M(t)'s."""
    ours = put(bench, replies((5, 4), (5, 5), (3, 2)), part=2)
    anchors = put(bench, replies((1, 3), (5, 2), (2, 2), letter="b"), part=2)
    given = bench.run(config(), judged=ours, anchors=anchors)
    found = [(pair.rejected, pair.rejected_id, pair.rejected_score) for pair in made(bench, given)]
    assert found == [("b", "first-p0-0", 1), ("bb", "first-p1-1", 2), ("aa", "p2-1", 2)]
    counts = bench.result(given).counts
    assert (counts["pairs"], counts["anchored"], counts["dropped-tie"]) == (3, 2, 0)


def test_every_pair_has_the_consistency_of_all_prompts(bench: Any) -> None:
    """Three prompts agree wholly, not at all, and not measurably: C is the mean of 1 and 0."""
    judged = put(bench, replies((5, 4, 3), (5, 4, 3), (5, 4, 3)))
    previous = put(bench, replies((3, 2, 1), (1, 2, 3), (4, 4, 4)))
    given = bench.run(config(consistency=True), judged=judged, **{"judged-by-previous": previous})
    assert [pair.consistency for pair in made(bench, given)] == [0.5] * 3
    result = bench.result(given)
    assert result.metrics["consistency"] == 0.5
    assert result.counts["undefined-agreement"] == 1


@pytest.mark.parametrize(
    ("previous", "consistency", "measured"),
    [((1, 2), 0.0, 0.0), ((3, 3), 1.0, None)],
)
def test_consistency_at_its_ends(
    bench: Any, previous: tuple[float, float], consistency: float, measured: float | None
) -> None:
    """Rankings that are reversed give 0; where none is defined, pairs count in full."""
    judged, other = put(bench, replies((5, 4))), put(bench, replies(previous))
    given = bench.run(config(consistency=True), judged=judged, **{"judged-by-previous": other})
    assert [pair.consistency for pair in made(bench, given)] == [consistency]
    assert bench.result(given).metrics["consistency"] == measured


def test_without_the_option_nothing_is_compared(bench: Any) -> None:
    """Pairs count in full, and there is no figure of consistency."""
    given = bench.run(config(), judged=put(bench, replies((5, 4))))
    assert [pair.consistency for pair in made(bench, given)] == [1.0]
    result = bench.result(given)
    assert "consistency" not in result.metrics
    assert "undefined-agreement" not in result.counts


def test_pairs_that_length_control_changed_are_counted(bench: Any) -> None:
    """In the second prompt the shorter reply wins although it scores less."""
    values = replies((5, 4, 1), (4, 5, 1))
    judged = put(bench, values)
    plain = bench.run(config(), judged=judged)
    controlled = bench.run(config(rho=0.3), judged=judged)
    assert [pair.chosen_score for pair in made(bench, plain)] == [5, 5]
    assert [pair.chosen_score for pair in made(bench, controlled)] == [5, 4]
    assert bench.result(plain).counts["length-controlled"] == 0
    assert bench.result(controlled).counts["length-controlled"] == 1
    assert bench.result(controlled).metrics["chosenLength"] == 1


def samples(*answers: tuple[bool, str], question: str = "q", **fields: Any) -> list[AnswerSample]:
    """Answers to a question: whether they are right, and their text."""
    values: dict[str, Any] = {
        "question_id": question,
        "prompt": f"Question: {question}",
        "tokens": 3,
        "finish": "stop",
        "value": "1",
        "reason": "ok",
        "gold": "1",
        **fields,
    }
    return [
        AnswerSample(id=f"{question}/{index}", index=index, text=text, correct=right, **values)
        for index, (right, text) in enumerate(answers)
    ]


def test_answers_to_questions_are_paired_by_whether_they_are_right(bench: Any) -> None:
    """Right wins against wrong; alike is a tie; cut ones and the greedy one do not compete."""
    greedy = samples((True, "greedy"), question="d")[0].model_copy(update={"index": -1})
    values = [
        *samples((True, "1"), (False, "2"), question="a"),
        *samples((True, "1"), (True, "one"), question="b"),
        *samples((True, "1"), (False, "2"), question="c", finish="length"),
        greedy,
        *samples((False, "2"), (False, "3"), question="d"),
    ]
    given = bench.run(config(), samples=put(bench, values, "samples"))
    (pair,) = made(bench, given)
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Question: a", "1", "2")
    assert (pair.chosen_score, pair.rejected_score) == (1, 0)
    counts = {k: n for k, n in bench.result(given).counts.items() if n}
    assert counts == {"prompts": 4, "pairs": 1, "dropped-tie": 2, "dropped-truncated": 1}
    assert bench.result(given).metrics["score"] == pytest.approx(4 / 8)


def test_pairs_and_drops_are_all_prompts(bench: Any) -> None:
    """Every prompt is a pair or was dropped for one reason."""
    scores = [(5.0, 1.0), (4.0, 4.0), (5.0, None), (3.0, 2.0), (None, None)]
    values = [judged(i, j, score) for i, two in enumerate(scores) for j, score in enumerate(two)]
    given = bench.run(pairs_config(), judged=bench.put("judge", parts("judged", values)))
    artifact = bench.result(given)
    dropped = {k: n for k, n in artifact.counts.items() if k.startswith("dropped-") and n}
    assert dropped == {"dropped-tie": 1, "dropped-unscored": 2}
    assert artifact.counts["pairs"] == 2
    assert artifact.counts["prompts"] == 5
    assert artifact.metrics["gap"] == 2.5
    made = rows.read(bench.fetch(given) / "pairs-00000.jsonl", Pair)
    assert [(pair.chosen, pair.rejected) for pair in made] == [("reply 0", "reply 1")] * 2


def test_pairs_are_built_without_torch(bench: Any, stages: dict[str, Any]) -> None:
    """The stage that runs on a small CPU pod imports no machine learning library."""
    config, inputs = stages["build-pairs"]
    run_in_process(bench, config, inputs, ("torch", "transformers", "trl", "deepspeed", "numpy"))
