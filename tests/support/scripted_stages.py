"""What a worker would do, for pods of a scripted node: publish, and say so; nothing is computed.

A stage publishes one small file, whose content is its key, so that every key and digest of a task
is known before anything is published.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from autodidact_contract.task import Result, StageTask, Task
from autodidact_operator.cluster import labels
from autodidact_store.protocol import Store
from autodidact_store.publishing import publish
from tools.cluster.api import JsonObject
from tools.cluster.outcomes import Outcome

COUNTS: Mapping[str, Mapping[str, int]] = {
    "generate-prompts": {"prompts": 64},
    "generate-responses": {"responses": 256},
    "judge": {"judgements": 768, "parsed": 760, "prompts": 64, "ties": 4},
    "build-pairs": {"pairs": 60, "prompts": 64},
    "evaluate": {"prompts": 64},
}
METRICS: Mapping[str, Mapping[str, float]] = {
    "judge": {"score": 3.2},
    "build-pairs": {"gap": 1.5},
    "evaluate": {"pairwiseAccuracy": 0.8, "quality": 4.1, "winRate": 0.6},
}
"""Figures by stage kind; no gate trips on them."""


@dataclass(frozen=True, kw_only=True)
class ScriptedStages:
    """A `play` for `ScriptedNode`: every pod works a while, publishes its stages and succeeds.

    Attributes:
        store: Where to publish.
        delay_s: How long a pod works.
        counts: Counts by stage kind.
        metrics: Metrics by stage kind.
        manifests_only: Publish no bytes, in one request a stage, where the load on the store
            would be measured too.
    """

    store: Store
    delay_s: float = 0.05
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: COUNTS)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: METRICS)
    manifests_only: bool = False

    def __call__(self, pod: JsonObject) -> Outcome:
        """Returns what becomes of a pod."""
        task, index = task_of(pod), index_of(pod)
        if index >= task.shards:  # A further node of a distributed stage.
            return Outcome(delay_s=self.delay_s, message=Result().model_dump_json())
        drafts = self.manifests(task, index)
        result = Result(published={name: draft.key for name, draft in drafts.items()})

        async def work() -> None:
            await asyncio.to_thread(self._publish, task.run.namespace, list(drafts.values()))

        return Outcome(delay_s=self.delay_s, message=result.model_dump_json(), before=work)

    def manifests(self, task: Task, shard: int) -> dict[str, Manifest]:
        """Returns what a pod will publish, by stage name."""
        drafts: dict[str, Manifest] = {}
        digests: dict[str, str] = {}
        for stage in task.stages:
            inputs = {
                name: where.digest or digests[where.stage or ""]
                for name, where in stage.inputs.items()
            }
            key = stage_key(stage.config.dump(), inputs, stage.salt)
            files = [_file(task, stage, key, part) for part in range(task.shards)]
            digests[stage.name] = artifact_digest(files)
            drafts[stage.name] = self._manifest(task, stage, key, shard, inputs, files[shard])
        return drafts

    def _manifest(
        self,
        task: Task,
        stage: StageTask,
        key: str,
        shard: int,
        inputs: Mapping[str, str],
        file: File,
    ) -> Manifest:
        kind = stage.config.stage
        return Manifest(
            kind=kind,
            key=key,
            shard=shard,
            shards=task.shards,
            files=(file,),
            inputs=dict(inputs),
            config=stage.config.dump(),
            counts=dict(self.counts.get(kind, {})),
            metrics={name: Mean(total=x) for name, x in self.metrics.get(kind, {}).items()},
            seconds={"work": self.delay_s},
        )

    def _publish(self, namespace: str, manifests: list[Manifest]) -> None:
        for manifest in manifests:
            if self.manifests_only:
                place = shard_prefix(
                    namespace, manifest.kind, manifest.key, manifest.shard, manifest.shards
                )
                self.store.create(place + MANIFEST, encode(manifest))
                continue
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / manifest.files[0].path).write_bytes(
                    _content(manifest.key, manifest.shard)
                )
                publish(self.store, namespace, manifest, Path(folder))


def task_of(pod: JsonObject) -> Task:
    """Returns the task that a pod of ours carries."""
    environment = pod["spec"]["containers"][0]["env"]
    text = next(item["value"] for item in environment if item["name"] == "AUTODIDACT_TASK")
    return Task.model_validate_json(text)


def index_of(pod: JsonObject) -> int:
    """Returns the completion index of a pod."""
    return int(pod["metadata"]["annotations"][labels.COMPLETION_INDEX])


def _file(task: Task, stage: StageTask, key: str, shard: int) -> File:
    content = _content(key, shard)
    place = shard_prefix(task.run.namespace, stage.config.stage, key, shard, task.shards)
    name = part_name("rows", shard)
    return File(
        path=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        location=place + name,
    )


def _content(key: str, shard: int) -> bytes:
    return f"{key} {shard}\n".encode()
