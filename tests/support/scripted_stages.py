"""Stages without workers: pods of a scripted node publish plausible artifacts and end at once.

The task of a pod is read and published as a worker would, through the artifact store, so that
planner, controller and store are the real ones and a whole run takes seconds. What a test wants to
be different it says beforehand: other counts, a slower stage, another end of an attempt.

A stage publishes one small file, whose content follows from its key, so that every key and digest
of a task is known before anything is published.
"""

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from autodidact_contract.artifacts import (
    MANIFEST,
    File,
    Manifest,
    Mean,
    artifact_digest,
    encode,
    part_name,
    shard_prefix,
    stage_key,
)
from autodidact_contract.environment import TASK
from autodidact_contract.stages.data import Import
from autodidact_contract.task import Failure, Result, StageTask, Task
from autodidact_operator.cluster import labels
from autodidact_store import publishing
from autodidact_store.protocol import Store
from support.stage_figures import COUNTS, METRICS
from tools.cluster.api import JsonObject
from tools.cluster.control_plane import Cluster
from tools.cluster.outcomes import Outcome
from tools.cluster.scripted import ScriptedNode

ARTIFACT = "artifact://"


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


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a pod is to publish of a stage.

    Attributes:
        manifest: With its files.
        content: Bytes of its one file; None where its files are those of another artifact.
    """

    manifest: Manifest
    content: bytes | None


@dataclass(frozen=True, kw_only=True)
class ScriptedStages:
    """The play of a scripted node.

    Attributes:
        store: Where artifacts go.
        delay_s: How long a pod works, unless a script says it.
        manifests_only: Publish no bytes, in one request a stage, where the load on the store
            would be measured too.
    """

    store: Store
    delay_s: float = 0.0
    manifests_only: bool = False
    _scripts: dict[tuple[str, str], Script] = field(default_factory=dict)

    def script(self, namespace: str, run: str) -> Script:
        """Returns the script of a run, to be changed."""
        return self._scripts.setdefault((namespace, run), Script())

    def play(self, pod: JsonObject) -> Outcome:
        """Returns what becomes of a pod."""
        task, shard = task_of(pod), _index(pod)
        script = self.script(task.run.namespace, task.run.name)
        attempt = (task.job, task.attempt)
        script.seen.setdefault(attempt, pod)
        delay_s = script.delays.get(task.job, self.delay_s)
        if end := script.ends.get(attempt):
            drafts, outcome = {}, replace(end, delay_s=max(end.delay_s, delay_s))
        else:
            drafts = self._drafts(task, shard, script)
            outcome = Outcome(delay_s=delay_s, message=_last_words(drafts))

        async def before() -> None:
            steps = (script.before.get(attempt), drafts and publish, script.after.get(attempt))
            for step in steps:
                if step:
                    await asyncio.to_thread(step)

        def publish() -> None:
            for draft in drafts.values():
                self._publish(task.run.namespace, draft)

        return replace(outcome, before=before)

    def _drafts(self, task: Task, shard: int, script: Script) -> dict[str, Draft]:
        """Returns what a pod will publish, by stage name."""
        drafts: dict[str, Draft] = {}
        if shard >= task.shards:  # A further node of a distributed stage.
            return drafts
        digests: dict[str, str] = {}
        for stage in task.stages:
            inputs = {
                name: where.digest or digests[where.stage or ""]
                for name, where in stage.inputs.items()
            }
            key = stage_key(stage.config.dump(), inputs, stage.salt)
            origin = self._origin(stage, task.run.namespace)
            files = origin or tuple(_file(task, stage, key, part) for part in range(task.shards))
            digests[stage.name] = artifact_digest(files)
            told = script.figures.get(stage.name) or script.figures.get(stage.config.stage)
            manifest = Manifest(
                kind=stage.config.stage,
                key=key,
                shard=shard,
                shards=task.shards,
                files=origin or (files[shard],),
                inputs=inputs,
                config=stage.config.dump(),
                seconds={"work": self.delay_s},
                **_figures(stage.config.stage, told or Figures()),
            )
            content = None if origin else _content(key, shard)
            drafts[stage.name] = Draft(manifest=manifest, content=content)
        return drafts

    def _origin(self, stage: StageTask, namespace: str) -> tuple[File, ...]:
        """Returns the files of the model that a fork starts from; none for all other stages."""
        config = stage.config
        if not isinstance(config, Import) or not config.uri.startswith(ARTIFACT):
            return ()
        kind, _, key = config.uri.removeprefix(ARTIFACT).rpartition("-")
        found = publishing.manifests(self.store, namespace, kind, key)
        return tuple(file for manifest in found or () for file in manifest.files)

    def _publish(self, namespace: str, draft: Draft) -> None:
        made = draft.manifest
        if self.manifests_only:
            place = shard_prefix(namespace, made.kind, made.key, made.shard, made.shards)
            self.store.create(place + MANIFEST, encode(made))
            return
        with tempfile.TemporaryDirectory() as folder:
            if draft.content is not None:
                (Path(folder) / made.files[0].path).write_bytes(draft.content)
            external = made.files if draft.content is None else ()
            publishing.publish(self.store, namespace, made, Path(folder), external)


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
    text = next(item["value"] for item in environment if item["name"] == TASK)
    return Task.model_validate_json(text)


def _index(pod: JsonObject) -> int:
    annotations = pod["metadata"].get("annotations") or {}
    return int(annotations.get(labels.COMPLETION_INDEX, 0))


def _last_words(drafts: Mapping[str, Draft]) -> str:
    keys = {name: draft.manifest.key for name, draft in drafts.items()}
    return Result(published=keys).model_dump_json(by_alias=True, exclude_none=True)


def _figures(kind: str, told: Figures) -> dict[str, Mapping[str, object]]:
    """Returns the counts and metrics of a stage, as a manifest has them."""
    metrics = {**METRICS.get(kind, {}), **told.metrics}
    return {
        "counts": {**COUNTS.get(kind, {}), **told.counts},
        "metrics": {name: Mean(total=value) for name, value in metrics.items()},
    }


def _file(task: Task, stage: StageTask, key: str, shard: int) -> File:
    content = _content(key, shard)
    kind = stage.config.stage
    name = "report.html" if kind == "report" else part_name("rows", shard)
    return File(
        path=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        location=shard_prefix(task.run.namespace, kind, key, shard, task.shards) + name,
    )


def _content(key: str, shard: int) -> bytes:
    return f"{key} {shard}\n".encode()
