from collections.abc import Callable

import pytest

from autodidact_contract.stages.answers import RerankAnswers
from support.reranked import RULES, Train, answer, samples
from support.worker import Bench


def test_reranking_does_not_depend_on_shards(
    train: Train, new_bench: Callable[[str], Bench]
) -> None:
    """Four parts in 1, 2 and 4 shards: the same digest, counts and accuracy over all questions."""
    out, _ = train(epochs=12)
    given = samples(8)
    # Nothing to choose from: wrong, and counted.
    given += [answer(99, -1, "greedy a", "1"), answer(99, 0, "nothing")]
    parts = {
        f"samples-{part:05d}.jsonl": b"".join(
            row.model_dump_json(by_alias=True).encode() + b"\n"
            for row in given
            if int(row.question_id[1:]) % 4 == part
        )
        for part in range(4)
    }
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        inputs = {"samples": bench.put("sample", parts), "reranker": bench.put("import", out)}
        config = RerankAnswers(answers=RULES, max_length=32)
        found.append(bench.result(bench.run(config, shards=shards, **inputs)))
    assert len({artifact.digest for artifact in found}) == 1
    for artifact in found:
        # Four samples a question, all different; the right ones are told from the wrong ones.
        assert artifact.counts == {"questions": 9, "candidates": 32, "truncated": 0}
        assert artifact.metrics["rerankAccuracy"] == pytest.approx(8 / 9)
