"""The frame around every stage: inputs, "is it there already?", scratch, publishing.

A stage is a module in ``autodidact_worker.stages`` named after its kind, with one function
``run(context) -> Output`` that reads files below ``context.inputs`` and writes flat files into
``context.out``. It knows no store, no Kubernetes and no other stage.
"""

import importlib
import keyword
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from autodidact_contract.artifacts import Artifact, File, Manifest, Mean, stage_key
from autodidact_contract.environment import ENGINES
from autodidact_contract.stages.base import StageConfig
from autodidact_contract.stages.registry import SHARDED
from autodidact_contract.stages.training import Training
from autodidact_contract.task import Input, Progress, StageTask, Task
from autodidact_store import Store, publishing
from autodidact_worker.runtime import logs
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.runtime.clock import Clock
from autodidact_worker.runtime.errors import StoppedError, UserError
from autodidact_worker.runtime.progress import ProgressCall, Reporter, finite, silent

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 5.0
POLL_S = 1.0
"""How often a stage looks whether its sibling shards have published what it reads."""

LIBRARIES = (
    "torch",
    *ENGINES,
    "trl",
    "deepspeed",
    "accelerate",
    "scipy",
    "rapidfuzz",
)
"""Recorded in the manifest if the stage imported them."""


@dataclass(frozen=True, kw_only=True)
class InputArtifact:
    """An input on local disk, every byte checked against its digest.

    Attributes:
        path: Folder of its files. Read only.
        kind: Stage kind that made it.
        digest: Digest of the artifact.
        counts: What its maker counted.
        metrics: What its maker measured.
        inputs: Digest of each of its maker's inputs by their names.
        config: Its maker's config as plain JSON.
    """

    path: Path
    kind: str = ""
    digest: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


Config_co = TypeVar("Config_co", bound=StageConfig, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Context(Generic[Config_co]):
    """Everything a stage may know.

    Attributes:
        config: The stage's config, of the class its kind names.
        inputs: Input artifacts by input name.
        out: Empty folder; its flat files become the artifact.
        shard: Which of the ``shards`` equal shares of the items is ours.
        shards: Number of shares.
        progress: Reports where the stage is; never fails.
        stopping: Whether SIGTERM came; raise ``StoppedError`` then, once it is safe.
        scratch: Empty folder that is not published, gone afterwards.
        store: For checkpoints of long training; None when run by hand.
        namespace: As above.
        key: Key of the output, for checkpoints.
        run_kind: Kind of the run that the stage is of; empty where it is run by hand for none.
    """

    config: Config_co
    inputs: Mapping[str, InputArtifact]
    out: Path
    shard: int = 0
    shards: int = 1
    progress: ProgressCall = silent
    stopping: Callable[[], bool] = lambda: False
    scratch: Path = Path()
    store: Store | None = None
    namespace: str = ""
    key: str = ""
    run_kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a stage measured; its files are in ``context.out``.

    Attributes:
        counts: Summed over shards.
        metrics: Means, folded over shards by their weights.
        external: Files of the artifact that already lie elsewhere and are not copied.
        world_size: Processes that trained together, as they were counted.
        deepspeed: How training was spread over them, as it was seen to be.
        engine: What sampled, as the generator says it.
        seconds: Wall time by phase of the work, earlier attempts included; of two equal outputs
            it may differ.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Mean] = field(default_factory=dict)
    external: tuple[File, ...] = ()
    world_size: int = 1
    deepspeed: str = "none"
    engine: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What a process has for all its stages.

    Attributes:
        store: Where artifacts are.
        scratch: Folder for inputs and work.
        shard: This pod's share.
        rank: Rank of this process in a distributed stage; only rank 0 publishes and reports.
        local_rank: Rank on this node; only local rank 0 fetches.
        image: Digest of the container image, recorded.
        reporter: Where progress goes.
        stopping: Whether SIGTERM came.
    """

    store: Store
    scratch: Path
    shard: int = 0
    rank: int = 0
    local_rank: int = 0
    image: str = ""
    reporter: Reporter = field(default_factory=lambda: Reporter(None))
    stopping: Callable[[], bool] = lambda: False


def run_task(task: Task, worker: Worker) -> dict[str, str]:
    """Runs the stages of a task in order; every one is published when this returns.

    Returns:
        The artifact key by stage name.
    """
    keys: dict[str, tuple[str, str]] = {}  # stage name -> (kind, key)
    for stage in task.stages:
        token = logs.stage.set(stage.name)
        keys[stage.name] = (stage.config.stage, _run_stage(task, stage, worker, keys))
        logs.stage.reset(token)  # but not after an error: last words name the stage
    return {name: key for name, (_, key) in keys.items()}


def _run_stage(
    task: Task, stage: StageTask, worker: Worker, earlier: Mapping[str, tuple[str, str]]
) -> str:
    config, namespace = stage.config, task.run.namespace
    _check_layout(task, stage, worker.shard)
    clock = Clock()
    with clock("wait"):
        found = {
            name: _resolve(worker, namespace, name, where, earlier)
            for name, where in sorted(stage.inputs.items())
        }
    digests = {name: artifact.digest for name, artifact in found.items()}
    key = stage_key(config.dump(), digests, stage.salt)
    place = {"shard": worker.shard, "shards": task.shards}
    if _is_published(worker.store, namespace, config.stage, key, **place):
        log.info("already published artifact=%s-%s", config.stage, key)
        return key
    with clock("load"):
        module = _module(config.stage)  # imports the libraries the stage needs
    with clock("fetch"):
        # A stage that reads some files of its inputs only says so, and never has a model moved.
        wanted = getattr(module, "wanted", None)
        inputs = {name: _fetch(worker, namespace, found[name], wanted) for name in found}
    log.info("start artifact=%s-%s shard=%d/%d", config.stage, key, worker.shard, task.shards)
    with tempfile.TemporaryDirectory(dir=worker.scratch, prefix=f"{stage.name}-") as folder:
        out, scratch = _folders(Path(folder))
        context = Context(
            config=config,
            inputs=MappingProxyType(inputs),
            out=out,
            scratch=scratch,
            progress=silent if worker.rank else reporting_progress(stage.name, worker.reporter),
            stopping=worker.stopping,
            store=worker.store,
            namespace=namespace,
            key=key,
            run_kind=task.run.kind,
            **place,
        )
        with clock("work"):
            output = call(context)
        if worker.rank == 0:
            manifest = draft(config, key, digests, output, place, clock.seconds, worker.image)
            with clock("publish"):
                publishing.publish(worker.store, namespace, manifest, out, output.external)
            if isinstance(config, Training):
                Checkpoints.of(worker.store, namespace, config.stage, key).clear()
    log.info("done artifact=%s-%s %s", config.stage, key, clock)
    return key


def _module(kind: str) -> Any:
    """Returns the module of a stage kind; ``import`` is a word of Python's own."""
    name = kind.replace("-", "_")
    return importlib.import_module(
        f"autodidact_worker.stages.{name}{'_' if keyword.iskeyword(name) else ''}"
    )


def call(context: Context[StageConfig]) -> Output:
    """Runs the module that the config's kind names."""
    output: Output = _module(kind_of(context.config)).run(context)
    return output


def kind_of(config: StageConfig) -> str:
    """Returns the kind of stage that a config is for."""
    kind: str = config.stage  # type: ignore[attr-defined]  # every class but the base has it
    return kind


def versions() -> dict[str, str]:
    """Returns the version of ours and of each recorded library this process has imported."""
    import sys  # noqa: PLC0415 - asks what is loaded now

    found = {}
    for name in ("autodidact", *(name for name in LIBRARIES if sys.modules.get(name))):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _check_layout(task: Task, stage: StageTask, shard: int) -> None:
    if task.shards > 1 and stage.config.stage not in SHARDED:
        raise UserError(
            "InvalidTask",
            f"stage {stage.name} of kind {stage.config.stage} cannot be split into "
            f"{task.shards} shards; plan it in a Job of its own",
        )
    if not 0 <= shard < task.shards:
        raise UserError("InvalidTask", f"shard {shard} is not one of {task.shards} shards")


def _resolve(
    worker: Worker,
    namespace: str,
    name: str,
    where: Input,
    earlier: Mapping[str, tuple[str, str]],
) -> Artifact:
    if where.artifact is not None:
        kind, _, key = where.artifact.rpartition("-")
        return Artifact(kind=kind, key=key, digest=str(where.digest))
    if where.stage is None or where.stage not in earlier:
        raise UserError("InvalidTask", f"input {name} names {where.stage}, not an earlier stage")
    kind, key = earlier[where.stage]
    said = False
    while (artifact := publishing.find(worker.store, namespace, kind, key)) is None:
        if not said:
            log.info("waiting for the other shards of artifact=%s-%s", kind, key)
            said = True
        _pause(worker)
    return artifact


def _is_published(
    store: Store, namespace: str, kind: str, key: str, *, shard: int, shards: int
) -> bool:
    ours = publishing.published(store, namespace, kind, key, shard, shards)
    # A complete artifact of another layout is the same artifact: its files do not differ.
    return ours is not None or publishing.find(store, namespace, kind, key) is not None


def _fetch(
    worker: Worker,
    namespace: str,
    artifact: Artifact,
    wanted: Callable[[str], bool] | None = None,
) -> InputArtifact:
    """Brings an artifact to local disk once per node, whoever of its processes needs it."""
    path = worker.scratch / ("parts" if wanted else "inputs") / artifact.name
    mark = path.with_suffix(f".{artifact.digest[:16]}")
    if worker.local_rank == 0 and not mark.exists():
        path.mkdir(parents=True, exist_ok=True)
        fetched = publishing.fetch(
            *(worker.store, namespace, artifact.kind, artifact.key, artifact.digest, path),
            only=wanted,
            on_bytes=lambda _: _stop(worker),
        )
        mark.write_text(fetched.model_dump_json(by_alias=True))
        log.info("fetched input=%s digest=%s", artifact.name, artifact.digest[:12])
    while not mark.exists():
        _pause(worker)
    known = Artifact.model_validate_json(mark.read_text())
    return InputArtifact(
        path=path,
        kind=known.kind,
        digest=known.digest,
        counts=known.counts,
        metrics=known.metrics,
        inputs=known.inputs,
        config=known.config,
    )


def _stop(worker: Worker) -> None:
    if worker.stopping():
        raise StoppedError


def _pause(worker: Worker) -> None:
    _stop(worker)
    time.sleep(POLL_S)


def _folders(folder: Path) -> tuple[Path, Path]:
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir()
    scratch.mkdir()
    return out, scratch


def reporting_progress(stage: str, reporter: Reporter) -> ProgressCall:
    """Returns a call that reports every step and logs one line in a while."""
    logged = 0.0

    def progress(step: int, total: int, **metrics: float) -> None:
        nonlocal logged
        known = finite(metrics)
        reporter.report(Progress(stage=stage, step=step, total=total, metrics=known))
        now = time.monotonic()
        if now - logged >= LOG_INTERVAL_S or step == total:
            logged = now
            shown = " ".join(f"{name}={value:.4g}" for name, value in known.items())
            log.info("progress step=%d total=%d %s", step, total, shown)

    return progress


def draft(
    config: StageConfig,
    key: str,
    digests: Mapping[str, str],
    output: Output,
    place: Mapping[str, int],
    seconds: Mapping[str, float],
    image: str,
) -> Manifest:
    """Returns the manifest of a finished shard, all but its files."""
    return Manifest(
        kind=kind_of(config),
        key=key,
        files=(),
        inputs=dict(digests),
        config=config.dump(),
        counts=dict(output.counts),
        metrics=dict(output.metrics),
        versions=versions(),
        image=image,
        world_size=output.world_size,
        deepspeed=output.deepspeed,
        engine=output.engine,
        seconds={name: round(s, 3) for name, s in {**seconds, **output.seconds}.items()},
        **place,
    )
