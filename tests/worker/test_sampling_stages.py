"""Every sampling stage through the frame, on a random tiny model."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import (
    Battle,
    Instruction,
    Judged,
    Pair,
    Prompt,
    RankedReplies,
    Ranking,
    Response,
    Vote,
)
from autodidact_contract.stages import (
    OPPONENTS,
    BuildPairs,
    Contest,
    Evaluate,
    GeneratePrompts,
    GenerateResponses,
    Input,
    Judge,
    JudgeRanked,
    Sampling,
    StageConfig,
    StageTask,
)
from autodidact_worker import prompting, rows, rubrics
from autodidact_worker.errors import UserError
from autodidact_worker.generation import Completion
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.scoring import Scores
from autodidact_worker.stages import generate_prompts
from autodidact_worker.stages.judge import count
from worker import completion_servers

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=6)
PROMPTS = 150  # three part files


def prompts_config(**changes: Any) -> GeneratePrompts:
    """A config whose filters let a random model's noise pass."""
    values: dict[str, Any] = {
        "rubric": "toy-copy-v1",
        "count": 70,
        "sampling": Sampling(temperature=1.0, top_p=1.0, max_new_tokens=40),
        "seed_demonstrations": 3,
        "generated_demonstrations": 2,
        "min_words": 1,
        "max_words": 50,
        "excluded_words": (),
        "max_rouge": 0.7,
        "attempts_per_prompt": 20,
    }
    return GeneratePrompts(**values | changes)


def judge_config(**changes: Any) -> Judge:
    """Three votes in the toy's form."""
    values: dict[str, Any] = {
        "rubric": "toy-copy-v1",
        "votes": 3,
        "min_valid": 1,
        "allow_fractional": False,
        "sampling": SAMPLING,
    }
    return Judge(**values | changes)


def pairs_config(**changes: Any) -> BuildPairs:
    """The plain rule."""
    values = {"tie_break": "random", "min_score_gap": 0.0, "exclude_truncated": False}
    return BuildPairs(**values | changes)


def evaluate_config(**changes: Any) -> Evaluate:
    """The oracle decides battles on the first 80 held-out prompts; changes are the contest's."""
    contest: dict[str, Any] = {
        "rubric": "toy-copy-v1",
        "judge": "oracle",
        "judge_sampling": SAMPLING,
        "reply_sampling": SAMPLING,
        "prompts": 80,
    }
    votes = {"votes": changes.pop("votes", 2), "min_valid": 1, "allow_fractional": False}
    return Evaluate(**votes, contest=Contest(**contest | changes))


REPLIES = GenerateResponses(per_prompt=2, sampling=SAMPLING)


def text(number: int) -> str:
    """A prompt of the toy task."""
    letters = "".join("abcdefgh"[number // 8**place % 8] for place in range(5))
    return f"A{letters}:"


def prompts(count: int = PROMPTS) -> dict[str, bytes]:
    """Part files of prompts."""
    made = [
        Prompt(id=rows.text_id(text(i)), prompt=text(i), demonstrations=(), rouge_max=0)
        for i in range(count)
    ]
    return parts("prompts", made)


def parts(stem: str, values: list[Any]) -> dict[str, bytes]:
    """Part files of rows, at least one."""
    lines = [value.model_dump_json(by_alias=True).encode() + b"\n" for value in values]
    return {
        f"{stem}-{part:05d}.jsonl": b"".join(lines[part * 64 : part * 64 + 64])
        for part in range(max(1, -(-len(lines) // 64)))
    }


def replies(count: int = PROMPTS) -> dict[str, bytes]:
    """Part files of two replies a prompt; 64 prompts a part."""
    files = {}
    for part in range(-(-count // 64)):
        made = [
            Response(
                id=f"{rows.text_id(text(i))}-{index}",
                prompt_id=rows.text_id(text(i)),
                prompt=text(i),
                index=index,
                text="abcdefgh"[i % 4 : i % 4 + 5 - index],
                tokens=5,
                finish="stop",
            )
            for i in range(part * 64, min(count, part * 64 + 64))
            for index in range(2)
        ]
        files |= {f"responses-{part:05d}.jsonl": parts("x", made[:64])["x-00000.jsonl"]}
        files[f"responses-{part:05d}.jsonl"] += parts("x", made[64:])["x-00000.jsonl"]
    return files


def held_out(count: int = 100) -> list[RankedReplies]:
    """Held-out rows with three ranked replies."""
    return [
        RankedReplies(prompt=text(i), replies=(text(i)[1:-1], "aaaaa", "bbbbb"), ranks=(1, 2, 3))
        for i in range(count)
    ]


def seeds(bench: Any, count: int = 12) -> Input:
    """Seed instructions."""
    return bench.put_rows([Instruction(prompt=text(97 * i), response="x") for i in range(count)])


@pytest.fixture(autouse=True)
def short_rubric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a rubric that reads scores as the real one does but asks in few words."""
    made = dataclasses.replace(
        rubrics.get("additive-v1"),
        name="short-v1",
        judge="{prompt}|{response}:",
        pairwise="{prompt}|{a}|{b}?",
    )
    monkeypatch.setitem(rubrics._MAKERS, "short-v1", lambda _: made)


@pytest.fixture
def stages(bench: Any, llama: Path, other_llama: Path) -> dict[str, Any]:
    """Each sharded or sampling stage with small inputs: name -> (config, inputs)."""
    return _stages(bench, llama, other_llama)


def _stages(bench: Any, llama: Path, other_llama: Path) -> dict[str, Any]:
    model, other = bench.put("import", llama), bench.put("import", other_llama)
    scored = [judged(i, index, 5.0 * index) for i in range(3) for index in range(2)]
    return {
        "generate-prompts": (prompts_config(), {"model": model, "instructions": seeds(bench)}),
        "generate-responses": (
            REPLIES,
            {"model": model, "prompts": bench.put("generate-prompts", prompts())},
        ),
        "judge": (
            judge_config(),
            {"model": model, "responses": bench.put("generate-responses", replies())},
        ),
        "judge-ranked": (
            JudgeRanked(
                rubric="toy-copy-v1", attempts=2, allow_fractional=False, sampling=SAMPLING
            ),
            {"model": model, "ranked": bench.put_rows(held_out())},
        ),
        "build-pairs": (
            pairs_config(),
            {"judged": bench.put("judge", parts("judged", scored))},
        ),
        "evaluate": (
            evaluate_config(),
            {"model": model, "previous": other, "heldout": bench.put_rows(held_out())},
        ),
        "evaluate by referee": (
            evaluate_config(rubric="short-v1", judge="model", prompts=70, votes=1),
            {
                "model": model,
                "previous": other,
                "referee": model,
                "heldout": bench.put_rows(held_out(70)),
            },
        ),
    }


def judged(number: int, index: int, score: float | None) -> Judged:
    """A scored reply."""
    return Judged(
        id=f"{rows.text_id(text(number))}-{index}",
        prompt_id=rows.text_id(text(number)),
        prompt=text(number),
        text=f"reply {index}",
        finish="stop",
        votes=(),
        score=score,
    )


KINDS = [
    "generate-prompts",
    "generate-responses",
    "judge",
    "judge-ranked",
    "build-pairs",
    "evaluate",
]
SHARDED = ["generate-responses", "judge", "judge-ranked", "evaluate", "evaluate by referee"]


@pytest.mark.parametrize("name", [*KINDS, "evaluate by referee"])
def test_a_stage_run_twice_gives_the_same_digest(
    name: str, new_bench: Callable[[str], Any], llama: Path, other_llama: Path
) -> None:
    """Two stores that know nothing of each other end with the same bytes."""
    digests = set()
    for store in ("one", "two"):
        bench = new_bench(store)
        config, inputs = _stages(bench, llama, other_llama)[name]
        digests.add(bench.run(config, **inputs).digest)
    assert len(digests) == 1


@pytest.mark.parametrize("name", SHARDED)
def test_shards_do_not_change_an_artifact(
    name: str, new_bench: Callable[[str], Any], llama: Path, other_llama: Path
) -> None:
    """One, two and four shards publish the same union of files, counts and means."""
    found = []
    for shards in (1, 2, 4):
        bench = new_bench(f"shards-{shards}")
        config, inputs = _stages(bench, llama, other_llama)[name]
        artifact = bench.result(bench.run(config, shards=shards, **inputs))
        assert artifact.shards == shards
        means = {name: pytest.approx(value) for name, value in artifact.metrics.items()}
        found.append((artifact.digest, artifact.counts, means, artifact.metrics))
    for digest, counts, means, _ in found[1:]:
        assert digest == found[0][0]
        assert counts == found[0][1]
        assert means == found[0][3]


def test_another_seed_gives_other_replies(bench: Any, stages: dict[str, Any]) -> None:
    """The seed is part of the noise and of the key."""
    config, inputs = stages["generate-responses"]
    other = config.model_copy(update={"seed": 1})
    assert bench.run(config, **inputs).digest != bench.run(other, **inputs).digest


def test_replies_carry_what_was_asked(bench: Any, stages: dict[str, Any]) -> None:
    """Every prompt has its replies in order, with ids, lengths and finish reasons."""
    config, inputs = stages["generate-responses"]
    given = bench.run(config, **inputs)
    folder = bench.fetch(given)
    first = rows.read(folder / "responses-00000.jsonl", Response)
    assert [row.id for row in first[:2]] == [f"{rows.text_id(text(0))}-{i}" for i in range(2)]
    assert len(first) == 128
    assert all(row.tokens <= 6 for row in first)
    assert any(row.finish == "length" and row.tokens == 6 for row in first)
    artifact = bench.result(given)
    assert artifact.counts["prompts"] == PROMPTS
    assert artifact.counts["responses"] == 2 * PROMPTS
    assert artifact.metrics["tokens"] == artifact.counts["tokens"] / (2 * PROMPTS)


def test_a_generated_prompt_that_is_too_long_is_skipped_and_counted(
    bench: Any, llama: Path
) -> None:
    """A prompt beyond the context costs its own replies only."""
    long = "a" * 3000
    made = [
        Prompt(id=rows.text_id(p), prompt=p, demonstrations=(), rouge_max=0) for p in ("ab", long)
    ]
    given = bench.put("generate-prompts", parts("prompts", made))
    done = bench.run(REPLIES, model=bench.put("import", llama), prompts=given)
    counts = bench.result(done).counts
    assert (counts["prompts"], counts["responses"], counts["skipped-too-long"]) == (1, 2, 1)


def test_a_held_out_prompt_that_is_too_long_is_the_users_to_fix(bench: Any, llama: Path) -> None:
    """Data a person gave is never dropped silently; the message names the row and the remedy."""
    rows_given = [RankedReplies(prompt="a" * 3000, replies=("x", "y"), ranks=(1, 2))]
    with pytest.raises(UserError, match=r"prompt [0-9a-f]{16}-0 has .* context of 2048; shorten"):
        bench.run(
            evaluate_config(), model=bench.put("import", llama), heldout=bench.put_rows(rows_given)
        )


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


def test_new_prompts_are_counted_and_differ(bench: Any, stages: dict[str, Any]) -> None:
    """Accepted plus rejected is what was attempted, and no two prompts are equal."""
    config, inputs = stages["generate-prompts"]
    given = bench.run(config, **inputs)
    folder = bench.fetch(given)
    made = [row for _, part in rows.read_parts(folder, "prompts", Prompt) for row in part]
    counts = bench.result(given).counts
    assert len(made) == counts["accepted"] > 0
    assert len({row.prompt for row in made}) == len(made)
    assert all(row.rouge_max <= 0.7 and len(row.demonstrations) == 5 for row in made)
    rejected = sum(n for name, n in counts.items() if name.startswith("rejected-"))
    assert counts["accepted"] + rejected == counts["attempted"]


def test_the_very_same_prompt_is_no_new_one() -> None:
    """Where ROUGE is to drop nothing, an exact duplicate is dropped all the same, and counted."""
    pools = generate_prompts._Pools(
        config=prompts_config(max_rouge=1.0), seeds=[], generated=[], novelty=prompting.Novelty([])
    )
    for said in ("Say it.", "Say it!", "Say it."):
        completion = Completion(text=said, tokens=3, finish="stop")
        call = prompting.Call(prompt="", demonstrations=())
        pools.offer(rubrics.get("toy-copy-v1"), call, completion)
    assert [row.prompt for row in pools.accepted] == ["Say it.", "Say it!"]
    assert [row.rouge_max for row in pools.accepted] == [0.0, 1.0]
    assert pools.counts == {"rejected-duplicate": 1}


def test_prompts_differ_from_those_of_earlier_iterations(
    bench: Any, stages: dict[str, Any]
) -> None:
    """What an earlier iteration accepted is similar to itself and is not accepted again."""
    config, inputs = stages["generate-prompts"]
    first = bench.run(config, **inputs)
    second = bench.run(config, **inputs, **{"accepted-1": first})
    texts = [
        {
            row.prompt
            for _, part in rows.read_parts(bench.fetch(given), "prompts", Prompt)
            for row in part
        }
        for given in (first, second)
    ]
    assert not texts[0] & texts[1]


def test_no_prompt_at_all_is_the_users_to_fix(bench: Any, stages: dict[str, Any]) -> None:
    """When every attempt is rejected the message says why and what to do."""
    _, inputs = stages["generate-prompts"]
    config = prompts_config(count=4, attempts_per_prompt=2, max_rouge=-1.0)
    with pytest.raises(UserError, match=r"none of 8 attempts .* rejected .*stronger") as caught:
        bench.run(config, **inputs)
    assert caught.value.reason == "NoPrompts"


def test_the_oracle_measures_our_replies_and_decides_battles(
    bench: Any, stages: dict[str, Any]
) -> None:
    """Eighty battles with one verdict each, shares that add up, and the quality of our replies."""
    config, inputs = stages["evaluate"]
    given = bench.run(config, **inputs)
    artifact = bench.result(given)
    folder = bench.fetch(given)
    battles = [row for _, part in rows.read_parts(folder, "battles", Battle) for row in part]
    rankings = [row for _, part in rows.read_parts(folder, "rankings", Ranking) for row in part]
    assert len(battles) == artifact.counts["battles"] == 80
    assert len(rankings) == artifact.counts["ranked-prompts"] == 100
    shares = [artifact.metrics[name] for name in ("winRate", "drawRate", "lossRate")]
    assert sum(share or 0 for share in shares) == pytest.approx(1)
    mean = sum(battle.quality or 0 for battle in battles) / 80
    assert artifact.metrics["quality"] == pytest.approx(mean)


def test_greedy_replies_are_measured_beside_sampled_ones(
    bench: Any, stages: dict[str, Any]
) -> None:
    """Where all replies are greedy, their quality is that of the greedy ones beside samples."""
    config, inputs = stages["evaluate"]
    alone = {name: given for name, given in inputs.items() if name != "previous"}
    greedy = evaluate_config(reply_sampling=SAMPLING.model_copy(update={"temperature": 0.0}))
    sampled, likely = (bench.result(bench.run(one, **alone)).metrics for one in (config, greedy))
    assert likely["quality"] == likely["greedyQuality"] == sampled["greedyQuality"]
    assert sampled["quality"] != sampled["greedyQuality"]


def test_every_opponent_is_met(bench: Any, stages: dict[str, Any]) -> None:
    """Figures of each; the same model under two names has the same battles; lengths have a ratio."""
    config, inputs = stages["evaluate"]
    met = {"first": inputs["previous"], "baseline": inputs["model"]}
    given = bench.run(config, **inputs, **met)
    artifact = bench.result(given)
    folder = bench.fetch(given)
    battles = [row for _, part in rows.read_parts(folder, "battles", Battle) for row in part]
    by_name = {
        name: [
            row.model_copy(update={"opponent": "previous"})
            for row in battles
            if row.opponent == name
        ]
        for name in OPPONENTS
    }
    assert [len(found) for found in by_name.values()] == [80, 80, 80]
    assert by_name["first"] == by_name["previous"] != by_name["baseline"]
    figures = artifact.metrics
    for name in ("winRate", "drawRate", "lossRate", "gain"):
        assert figures[f"{name}First"] == figures[name]
    assert figures["gain"] == pytest.approx((figures["winRate"] or 0) - (figures["lossRate"] or 0))
    assert (figures["drawRateBaseline"], figures["gainBaseline"]) == (1.0, 0.0)
    lengths = [
        sum(len(getattr(row, side)) for row in by_name["first"]) for side in ("ours", "theirs")
    ]
    assert figures["lengthRatio"] == pytest.approx(lengths[0] / lengths[1])
    assert artifact.counts["battles-first"] == artifact.counts["battles-baseline"] == 80


def test_the_same_opponent_is_met_once(
    bench: Any, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its names, a model answers once, and its battles cost no second comparison."""
    config, inputs = stages["evaluate by referee"]
    made: list[int] = []
    real = TransformersGenerator.generate

    def counting(self: Any, requests: Any, *rest: Any) -> Any:
        made.append(sum(request.n for request in requests))
        return real(self, requests, *rest)

    monkeypatch.setattr(TransformersGenerator, "generate", counting)
    bench.run(config, **inputs)
    once, before = sum(made), len(made)
    bench.run(config, **inputs, first=inputs["previous"], baseline=inputs["previous"])
    assert sum(made[before:]) == once


def test_the_health_of_the_judge_is_counted(bench: Any, stages: dict[str, Any]) -> None:
    """Two votes on each of three hundred replies; those with a score are told apart by it."""
    config, inputs = stages["evaluate"]
    counts = bench.result(bench.run(config, **inputs)).counts
    assert counts["judgements"] == 600
    scored = sum(count for name, count in counts.items() if name.startswith("votes-"))
    unreadable = sum(count for name, count in counts.items() if name.startswith("invalid-no"))
    assert counts.get("parsed", 0) == scored
    assert unreadable > 0


def test_equal_models_draw_every_battle(bench: Any, stages: dict[str, Any]) -> None:
    """Both models sample with the same noise, so a model draws with itself without a referee."""
    config, inputs = stages["evaluate by referee"]
    given = bench.run(config, **inputs | {"previous": inputs["model"]})
    assert bench.result(given).metrics["drawRate"] == 1.0


def test_a_server_decides_battles(bench: Any, stages: dict[str, Any]) -> None:
    """It is asked in both orders; as it finds the first one better, every battle is a tie."""
    _, inputs = stages["evaluate by referee"]
    alone = {name: given for name, given in inputs.items() if name != "referee"}
    with completion_servers.scripted("judge-1") as served:
        served.reply = lambda _: completion_servers.said("Verdict: A")
        server = {"url": served.url, "model": "judge-1"}
        config = evaluate_config(rubric="short-v1", judge="server", server=server, prompts=6)
        given = bench.run(config, **alone)
    folder = bench.fetch(given)
    battles = [row for _, part in rows.read_parts(folder, "battles", Battle) for row in part]
    assert {row.verdicts for row in battles} <= {("win", "loss"), ("tie", "tie")}
    assert len(served.asked) == 2 * sum(row.verdicts == ("win", "loss") for row in battles) > 0
    figures = bench.result(given)
    assert (figures.metrics["drawRate"], figures.counts["invalid-verdicts"]) == (1.0, 0)


def test_battles_by_a_model_need_a_referee(bench: Any, stages: dict[str, Any]) -> None:
    """A missing referee is said before anything is sampled."""
    config, inputs = stages["evaluate by referee"]
    without = {name: given for name, given in inputs.items() if name != "referee"}
    with pytest.raises(UserError, match="referee"):
        bench.run(config, **without)


def test_without_a_predecessor_there_are_no_battles(bench: Any, stages: dict[str, Any]) -> None:
    """The first model is judged and measured, but fights nobody."""
    config, inputs = stages["evaluate"]
    alone = {name: given for name, given in inputs.items() if name != "previous"}
    artifact = bench.result(bench.run(config, **alone))
    assert "battles" not in artifact.counts
    assert artifact.metrics["quality"] is not None


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


CHECK_IMPORTS = """
import sys
from autodidact_worker import process
code = process.run_from_environment()
assert code == 0, code
found = [name for name in {names!r} if sys.modules.get(name)]
assert not found, found
"""


def run_in_process(
    bench: Any, config: StageConfig, inputs: dict[str, Input], forbidden: tuple[str, ...]
) -> None:
    """Runs a stage in a new interpreter that fails if it imported a forbidden module."""
    task = bench.task(StageTask(name="stage", config=config, inputs=inputs))
    environ = os.environ | {
        "AUTODIDACT_TASK": json.dumps(task.dump()),
        "AUTODIDACT_STORE": bench.uri,
    }
    code = CHECK_IMPORTS.format(names=forbidden)
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)


def test_pairs_are_built_without_torch(bench: Any, stages: dict[str, Any]) -> None:
    """The stage that runs on a small CPU pod imports no machine learning library."""
    config, inputs = stages["build-pairs"]
    run_in_process(bench, config, inputs, ("torch", "transformers", "trl", "deepspeed", "numpy"))


def test_sampling_imports_no_trainer(bench: Any, stages: dict[str, Any]) -> None:
    """Sampling does not pay for TRL and DeepSpeed although they are installed."""
    config, inputs = stages["evaluate"]
    run_in_process(bench, config, inputs, ("trl", "deepspeed", "datasets"))
