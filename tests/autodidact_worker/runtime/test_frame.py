"""The frame: publishing once, stopping, last words, progress, and running by hand."""

import json
import os
import signal
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.artifacts import MANIFEST
from autodidact_contract.stages.registry import SAMPLING
from autodidact_contract.task import Input, StageTask
from autodidact_store import CorruptError
from autodidact_worker import process
from autodidact_worker.runtime import frame
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.stages import build_pairs
from support import warm
from support.processes import last_words
from support.sampling_stages import (
    KINDS,
    REPLIES,
    judge_config,
    prompt_parts,
)

pytestmark = pytest.mark.usefixtures("keep_signals_and_modules")


def test_a_task_is_published_and_named_in_the_result(bench: Any, environ: dict[str, str]) -> None:
    """Exit code 0 comes with the key of every stage, and the artifact exists."""
    assert process.run_from_environment(environ) == 0
    key = last_words(environ).published["build-pairs-1"]
    found = bench.find("build-pairs", key)
    assert found.counts["pairs"] == 1
    assert set(found.seconds) == {"wait", "load", "fetch", "work"}


def test_what_is_published_is_not_made_again(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run returns the same key without running the stage."""
    process.run_from_environment(environ)
    first = last_words(environ)
    monkeypatch.setattr(build_pairs, "run", lambda _: pytest.fail("made again"))
    assert process.run_from_environment(environ) == 0
    assert last_words(environ) == first


def test_another_shard_layout_is_the_same_artifact(
    bench: Any, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one pod published is adopted by a Job of two shards."""
    config, inputs = stages["generate-responses"]
    first = bench.run(config, **inputs)
    monkeypatch.setattr(frame, "call", lambda _: pytest.fail("made again"))
    assert bench.run(config, shards=2, **inputs) == first


@pytest.mark.parametrize("name", KINDS)
def test_manifests_say_what_sampled(name: str, bench: Any, stages: dict[str, Any]) -> None:
    """The engine and its version, of the stages that sample and of no other."""
    config, inputs = stages[name]
    wanted = f"transformers {version('transformers')}" if config.stage in SAMPLING else ""
    assert bench.manifest(bench.run(config, **inputs)).engine == wanted


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_stage_leaves_nothing_and_is_repeated(
    name: str, bench: Any, stages: dict[str, Any]
) -> None:
    """SIGKILL after the upload but before the manifest: no artifact; the next run publishes it."""
    config, inputs = stages[name]
    task = bench.task(StageTask(name="stage", config=config, inputs=inputs))
    child = os.fork()
    if child == 0:
        type(bench.store).create = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        try:
            frame.run_task(task, bench.worker("killed"))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left = [entry.key for entry in bench.store.entries(f"tests/artifacts/{config.stage}-")]
    own = [key for key in left if "/0-of-1/" in key]
    keys = frame.run_task(task, bench.worker())
    assert [key for key in own if keys["stage"] in key]
    assert f"tests/artifacts/{config.stage}-{keys['stage']}/0-of-1/{MANIFEST}" not in own
    assert bench.find(config.stage, keys["stage"]) is not None


def test_stages_of_one_task_share_a_model_and_wait_for_their_siblings(
    bench: Any, llama: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """Two shards that each reply and then judge give what separate Jobs give."""
    model = bench.put("import", llama)
    asked = bench.put("generate-prompts", prompt_parts())
    fused = bench.task(
        StageTask(name="r-1", config=REPLIES, inputs={"model": model, "prompts": asked}),
        StageTask(
            name="j-1",
            config=judge_config(),
            inputs={"model": model, "responses": Input(stage="r-1")},
        ),
        shards=2,
    )
    environ |= {"AUTODIDACT_TASK": json.dumps(fused.dump())}
    shards = [
        warm.start(
            environ
            | {"JOB_COMPLETION_INDEX": str(shard), "AUTODIDACT_SCRATCH": str(tmp_path / str(shard))}
        )
        for shard in range(2)
    ]
    for shard in shards:
        shard.join(60)
    assert [shard.exitcode for shard in shards] == [0, 0]
    keys = last_words(environ).published
    together = bench.input("judge", keys["j-1"])
    alone = bench.run(
        judge_config(), model=model, responses=bench.input("generate-responses", keys["r-1"])
    )
    assert together == alone
    assert bench.result(together).shards == 2


def test_only_rank_zero_publishes(bench: Any, pairs: StageTask) -> None:
    """The other ranks of a distributed stage do the work and leave no trace in the store."""
    task = bench.task(pairs)
    keys = frame.run_task(task, bench.worker("rank-1", rank=1))
    assert bench.find("build-pairs", keys["build-pairs-1"]) is None
    frame.run_task(task, bench.worker("rank-0"))
    assert bench.find("build-pairs", keys["build-pairs-1"]) is not None


def test_local_ranks_read_what_the_first_one_fetched(bench: Any, pairs: StageTask) -> None:
    """One copy of the inputs a node: local rank 1 waits for local rank 0."""
    task = bench.task(pairs)
    second = threading.Thread(
        target=frame.run_task,
        args=(task, bench.worker("node", rank=1, local_rank=1)),
        daemon=True,
    )
    second.start()
    frame.run_task(task, bench.worker("node"))
    second.join(30)
    assert not second.is_alive()


@pytest.mark.parametrize(("shard", "shards"), [(0, 2), (1, 1)])
def test_a_wrong_layout_is_refused(bench: Any, pairs: StageTask, shard: int, shards: int) -> None:
    """A stage that cannot be split, and a shard that does not exist."""
    with pytest.raises(UserError, match=r"cannot be split|not one of"):
        frame.run_task(bench.task(pairs, shards=shards), bench.worker(shard=shard))


def test_inputs_are_checked_against_their_digest(bench: Any, pairs: StageTask) -> None:
    """An input whose bytes are not those the task names is not worked on."""
    given = pairs.inputs["judged"].model_copy(update={"digest": "0" * 64})
    wrong = pairs.model_copy(update={"inputs": {"judged": given}})
    with pytest.raises(CorruptError):
        frame.run_task(bench.task(wrong), bench.worker())
