"""Answers to questions, sampled and graded, and what is made of the right ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.stages.answers import Answers, Sample
from autodidact_contract.stages.base import Sampling
from autodidact_worker.runtime.errors import UserError
from support.sampled import problem, samples

TEXTS = Answers(rules="rcCompat", kind="text")  # whatever is written is an answer


QUESTIONS = 150  # three part files


def config(**changes: Any) -> Sample:
    """A greedy answer and two samples of six tokens."""
    values = {
        "per_question": 2,
        "greedy": True,
        "sampling": Sampling(temperature=1.0, top_p=1.0, max_new_tokens=6),
        "answers": TEXTS,
    }
    return Sample(**values | changes)


def inputs(bench: Any, llama: Path, count: int = QUESTIONS) -> dict[str, Any]:
    """A random model and questions."""
    given = bench.put_rows([problem(i) for i in range(count)])
    return {"model": bench.put("import", llama), "questions": given}


def test_shards_do_not_change_the_artifact(new_bench: Callable[[str], Any], llama: Path) -> None:
    """One, two and four shards publish the same files, counts and means."""
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        made = bench.result(bench.run(config(), shards=shards, **inputs(bench, llama)))
        found.append((made.digest, made.counts, made.metrics))
    for digest, counts, metrics in found[1:]:
        assert digest == found[0][0]
        assert counts == found[0][1]
        assert metrics == pytest.approx(found[0][2])


def test_all_answers_of_a_question_are_in_one_part_in_order(bench: Any, llama: Path) -> None:
    """64 questions a part, greedy first, then the samples by their index."""
    done = bench.run(config(), **inputs(bench, llama))
    for part, count in ((0, 64), (1, 64), (2, 22)):
        found = samples(bench, done, part)
        wanted = [f"q-{64 * part + i}/{index}" for i in range(count) for index in (-1, 0, 1)]
        assert [row.id for row in found] == wanted
    first = found[0]
    assert (first.question_id, first.prompt, first.gold) == ("q-128", "aaa:", "aaa")


def test_counts_are_what_the_rows_say(bench: Any, llama: Path) -> None:
    """Every figure can be had from the rows again."""
    done = bench.run(config(), **inputs(bench, llama))
    assert bench.manifest(done).engine.startswith("transformers ")
    found = [row for part in range(3) for row in samples(bench, done, part)]
    sampled = [row for row in found if row.index >= 0]
    made = bench.result(done)
    assert made.counts["questions"] == QUESTIONS
    assert made.counts["answers"] == len(sampled) == 2 * QUESTIONS
    assert made.counts["tokens"] == sum(row.tokens for row in found)
    assert made.counts["truncated"] == sum(row.finish == "length" for row in sampled)
    assert made.counts["unique-texts"] == len({(row.question_id, row.text) for row in sampled})
    assert made.counts["read-ok"] == 3 * QUESTIONS
    assert made.metrics["tokens"] == made.counts["tokens"] / (3 * QUESTIONS)
    assert made.metrics["accuracy"] == sum(row.correct for row in sampled) / len(sampled)
    values = {(row.question_id, row.value) for row in sampled}
    assert made.metrics["uniqueValues"] == len(values) / QUESTIONS


def test_more_samples_do_not_change_the_first_ones(bench: Any, llama: Path) -> None:
    """The noise is that of the question and the index; greedy has none."""
    given = inputs(bench, llama, 10)
    few = samples(bench, bench.run(config(), **given))
    many = samples(bench, bench.run(config(per_question=5), **given))
    other = samples(bench, bench.run(config(seed=1), **given))
    assert {row.id: row.text for row in few}.items() <= {r.id: r.text for r in many}.items()
    assert [r.text for r in few if r.index < 0] == [r.text for r in other if r.index < 0]
    assert [r.text for r in few if r.index >= 0] != [r.text for r in other if r.index >= 0]


def test_right_answers_are_marked(bench: Any, llama: Path) -> None:
    """A gold answer that is what the model says greedily makes its accuracy 1."""
    model = bench.put("import", llama)
    greedy = config(per_question=0)
    first = bench.run(greedy, model=model, questions=bench.put_rows([problem(i) for i in range(8)]))
    said = [row.text.strip() or "-" for row in samples(bench, first)]
    right = bench.put_rows([problem(i, answer=text) for i, text in enumerate(said)])
    made = bench.result(bench.run(greedy, model=model, questions=right))
    assert made.metrics["greedyAccuracy"] == 1
    assert (made.metrics["accuracy"], made.metrics["uniqueValues"]) == (None, None)
    assert made.counts["answers"] == 0


def test_a_question_beyond_the_context_is_named(bench: Any, llama: Path) -> None:
    """Nothing is dropped in silence."""
    given = bench.put_rows([problem(0, prompt="a" * 2048)])
    with pytest.raises(UserError, match="prompt q-0 has 2048 tokens"):
        bench.run(config(), model=bench.put("import", llama), questions=given)


def test_an_answer_ends_where_the_context_does(bench: Any, llama: Path) -> None:
    """A prompt of 2,046 of 2,048 tokens leaves two, however many were wanted; others have six."""
    given = bench.put_rows([problem(0, prompt="a" * 2046), problem(1)])
    done = bench.run(config(), model=bench.put("import", llama), questions=given)
    tokens: dict[str, list[int]] = {}
    for row in samples(bench, done):
        tokens.setdefault(row.question_id, []).append(row.tokens)
    assert max(tokens["q-0"]) == 2
    assert max(tokens["q-1"]) == 6
