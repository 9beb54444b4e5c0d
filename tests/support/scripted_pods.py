"""Stages without workers: pods of a scripted node publish plausible artifacts and end at once.

The task of a pod is read and published as a worker would, through the artifact store, so that
planner, controller and store are the real ones and a whole run takes seconds. What a test wants to
be different it says beforehand: other counts, a slower stage, another end of an attempt.
"""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from autodidact_contract.artifacts import File, Manifest, Mean, stage_key
from autodidact_contract.base import canonical_json
from autodidact_contract.stages.data import Import
from autodidact_contract.task import Failure, Result, StageTask, Task
from autodidact_operator.cluster import labels
from autodidact_store import publishing
from autodidact_store.protocol import Store
from tools.cluster.api import JsonObject
from tools.cluster.control_plane import Cluster
from tools.cluster.outcomes import Outcome
from tools.cluster.scripted import ScriptedNode

ARTIFACT = "artifact://"

COUNTS: Mapping[str, Mapping[str, int]] = {
    "train-sft": {"rows": 64, "steps": 8},
    "generate-prompts": {"prompts": 16},
    "generate-responses": {"responses": 32},
    "judge": {"judgements": 32, "parsed": 32, "prompts": 16, "ties": 2},
    "build-pairs": {"prompts": 16, "pairs": 14},
    "train-dpo": {"rows": 14, "steps": 1},
    "prepare-questions": {"rows": 64, "overlap": 0},
    "train-ppo": {"rollouts": 8, "sandbox-missing": 0},
    "sample": {"questions": 64, "answers": 512},
}
METRICS: Mapping[str, Mapping[str, float]] = {
    "judge": {"score": 3.0},
    "build-pairs": {"gap": 1.5},
    "evaluate": {"quality": 3.0, "winRate": 0.6, "pairwiseAccuracy": 0.7},
    "train-sft": {"accuracy": 0.5},
    "train-ppo": {"accuracy": 0.75, "lastKl": 4.0, "truncation": 0.0},
    "evaluate-answers": {"greedyAccuracy": 0.7, "voteAccuracy": 0.8},
    "rerank-answers": {"rerankAccuracy": 0.85},
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a stage kind reports instead of the usual."""

    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Script:
    """What becomes of the pods of one run.

    Attributes:
        figures: By stage kind or stage name.
        delays: Seconds by job, of every attempt.
        ends: Outcome by job and attempt instead of success; nothing is published.
        before: Called in a thread when an attempt is about to publish, by job and attempt.
        after: Called when it has published, and before its pod says that it ended.
        seen: Pods by job and attempt, as first seen.
    """

    figures: dict[str, Figures] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    ends: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    before: dict[tuple[str, int], Callable[[], object]] = field(default_factory=dict)
    after: dict[tuple[str, int], Callable[[], object]] = field(default_factory=dict)
    seen: dict[tuple[str, int], JsonObject] = field(default_factory=dict)


class ScriptedStages:
    """The play of a scripted node.

    Args:
        store: Where artifacts go.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scripts: dict[tuple[str, str], Script] = {}

    def script(self, namespace: str, run: str) -> Script:
        """Returns the script of a run, to be changed."""
        return self._scripts.setdefault((namespace, run), Script())

    def play(self, pod: JsonObject) -> Outcome:
        """Returns what becomes of a pod."""
        task = task_of(pod)
        script = self.script(task.run.namespace, task.run.name)
        attempt = (task.job, task.attempt)
        script.seen.setdefault(attempt, pod)
        first, last = script.before.get(attempt), script.after.get(attempt)
        outcome = script.ends.get(attempt)
        publishes = outcome is None

        async def before() -> None:
            if first:
                await asyncio.to_thread(first)
            if publishes:
                await asyncio.to_thread(self._publish, task, _shard(pod), script)
            if last:
                await asyncio.to_thread(last)

        if outcome is None:
            outcome = Outcome(message=_last_words(task))
        delay = max(outcome.delay_s, script.delays.get(task.job, 0.0))
        return replace(outcome, delay_s=delay, before=before)

    def _publish(self, task: Task, shard: int, script: Script) -> None:
        for stage in task.stages:
            self._publish_stage(task, stage, shard, script)

    def _publish_stage(self, task: Task, stage: StageTask, shard: int, script: Script) -> None:
        keys = _keys(task, self._store)
        kind = stage.config.stage
        told = script.figures.get(stage.name) or script.figures.get(kind) or Figures()
        metrics = {**METRICS.get(kind, {}), **told.metrics}
        digests = _digests(stage, task, keys, self._store)
        draft = Manifest(
            kind=kind,
            key=stage_key(stage.config.dump(), digests, stage.salt),
            shard=shard,
            shards=task.shards,
            files=(),
            inputs=digests,
            config=stage.config.dump(),
            counts={**COUNTS.get(kind, {}), **told.counts},
            metrics={name: Mean(total=value) for name, value in metrics.items()},
        )
        with tempfile.TemporaryDirectory() as folder:
            origin = self._origin(stage, task.run.namespace)
            if not origin:
                body = {"kind": kind, "key": draft.key, "shard": shard}
                name = "report.html" if kind == "report" else f"data-{shard:05d}.json"
                (Path(folder) / name).write_bytes(canonical_json(body))
            publishing.publish(self._store, task.run.namespace, draft, Path(folder), origin)

    def _origin(self, stage: StageTask, namespace: str) -> tuple[File, ...]:
        """Returns the files of the model that a fork starts from; none for all other stages."""
        config = stage.config
        if not isinstance(config, Import) or not config.uri.startswith(ARTIFACT):
            return ()
        kind, _, key = config.uri.removeprefix(ARTIFACT).rpartition("-")
        found = publishing.manifests(self._store, namespace, kind, key)
        return tuple(file for manifest in found or () for file in manifest.files)


@contextmanager
def playing(cluster: Cluster, stages: ScriptedStages, label: str) -> Iterator[None]:
    """Runs a scripted node in a thread of its own; its pods select it by `play: <label>`."""
    ready, done = threading.Event(), threading.Event()

    async def work() -> None:
        async with (
            cluster.api() as api,
            ScriptedNode(api, stages.play, name=f"node-{label}", labels={"play": label}),
        ):
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()), name="scripted-node")
    thread.start()
    try:
        if not ready.wait(60):
            raise TimeoutError("the scripted node is not ready")
        yield
    finally:
        done.set()
        thread.join(30)


def refusing(reason: str, message: str) -> Outcome:
    """Returns the end of a worker that says that the user must act."""
    failure = Failure(code="user", reason=reason, message=message)
    return Outcome(exit_code=64, message=Result(failure=failure).model_dump_json(by_alias=True))


def task_of(pod: JsonObject) -> Task:
    """Returns the task that a pod carries."""
    environment = pod["spec"]["containers"][0]["env"]
    text = next(item["value"] for item in environment if item["name"] == "AUTODIDACT_TASK")
    return Task.model_validate_json(text)


def _shard(pod: JsonObject) -> int:
    annotations = pod["metadata"].get("annotations") or {}
    return int(annotations.get(labels.COMPLETION_INDEX, 0))


def _last_words(task: Task) -> str:
    # Keys of stages that read an earlier one of their task are known only afterwards, and nobody
    # needs them.
    keys = {
        stage.name: stage_key(
            stage.config.dump(), {n: str(i.digest) for n, i in stage.inputs.items()}, stage.salt
        )
        for stage in task.stages
        if all(given.digest for given in stage.inputs.values())
    }
    return Result(published=keys).model_dump_json(by_alias=True, exclude_none=True)


def _keys(task: Task, store: Store) -> dict[str, str]:
    """Returns the key of each stage of a task, as far as what it reads is published."""
    keys: dict[str, str] = {}
    for stage in task.stages:
        if any(given.stage and given.stage not in keys for given in stage.inputs.values()):
            break
        try:
            digests = _digests(stage, task, keys, store)
        except LookupError:
            break
        keys[stage.name] = stage_key(stage.config.dump(), digests, stage.salt)
    return keys


def _digests(stage: StageTask, task: Task, keys: Mapping[str, str], store: Store) -> dict[str, str]:
    digests = {}
    for name, given in stage.inputs.items():
        if given.digest:
            digests[name] = given.digest
            continue
        kind = next(s.config.stage for s in task.stages if s.name == given.stage)
        found = publishing.find(store, task.run.namespace, kind, keys[str(given.stage)])
        if found is None:
            raise LookupError(f"{given.stage} is not published")
        digests[name] = found.digest
    return digests
