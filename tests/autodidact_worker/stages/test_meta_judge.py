from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import JudgedJudgements
from autodidact_worker.generation import Completion, Generator
from support.disputes import META, battle, config, disputed, judged, put, read, vote


def test_judgements_are_compared_in_both_orders(
    bench: Any, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that always prefers what it is shown first is found out, and nobody wins by it."""
    shown: list[str] = []

    def generate(_: Any, requests: Sequence[Any], *__: Any) -> list[list[Completion]]:
        shown.extend(request.prompt for request in requests)
        return [[Completion(text="Verdict: A", tokens=3, finish="stop")] for _ in requests]

    monkeypatch.setattr(Generator, "generate", generate)
    monkeypatch.setattr(Generator, "fits", lambda *_: True)
    votes = [vote(4, "Good.\nScore: 4"), vote(2, "Bad.\nScore: 2"), vote(3, "Good.\nScore: 3")]
    additive = META.model_copy(update={"rubric": "additive-v1"})
    given = bench.run(
        additive,
        model=bench.put("import", llama),
        judged=put(bench, "judge", "judged", [judged("p-0", votes), judged("q-0", [], "q")]),
    )
    (row,) = read(bench, given, "battles", JudgedJudgements)
    assert row.battles == (
        battle(0, 1, "first", "second"),
        battle(0, 2, "tie", "tie"),  # the same but for their scores: not even shown
        battle(1, 2, "first", "second"),
    )
    assert len(shown) == 4
    assert "<judgement-a>Good.</judgement-a>\n\n<judgement-b>Bad." in shown[0]
    assert "<judgement-a>Bad.</judgement-a>\n\n<judgement-b>Good." in shown[1]
    result = bench.result(given)
    assert {name: n for name, n in result.counts.items() if n} == {
        "prompts": 2,
        "skipped-undisputed": 1,
        "battles": 3,
        "verdicts-first": 4,
        "verdicts-tie": 2,
    }
    assert result.metrics == {"firstPreferred": 1.0, "higherPreferred": 0.5}
    pairs = put(bench, "build-pairs", "pairs", [])
    built = bench.result(bench.run(config(rubric="additive-v1"), battles=given, pairs=pairs))
    assert (built.counts["pairs"], built.counts["dropped-tie"]) == (0, 1)


def test_shards_do_not_change_the_battles(new_bench: Callable[[str], Any], llama: Path) -> None:
    """One, two and four shards publish the same files, counts and means."""
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        given = bench.run(
            META,
            shards=shards,
            model=bench.put("import", llama),
            judged=put(bench, "judge", "judged", disputed(6), part=2),
        )
        result = bench.result(given)
        found.append((result.digest, result.counts, result.metrics))
    assert found[0] == found[1] == found[2]
    assert found[0][1]["battles"] == 18
