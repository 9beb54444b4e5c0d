"""Tiny models and a store for the worker's tests; nothing here knows the network."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.artifacts import Artifact, Manifest
from autodidact_contract.base import Schema
from autodidact_contract.stages.base import StageConfig
from autodidact_contract.task import Input, RunRef, StageTask, Task
from autodidact_store import open_store, publishing
from autodidact_worker.runtime import frame, rows
from support.stage_figures import undeclared

NAMESPACE = "tests"


class Bench:
    """A store in a directory, and short ways to fill it and to run stages on it."""

    def __init__(self, folder: Path) -> None:
        (folder / "store").mkdir()
        self.folder = folder
        self.uri = f"file://{folder / 'store'}"
        self.store = open_store(self.uri, {})

    def put(self, kind: str, files: Mapping[str, bytes] | Path, **counts: int) -> Input:
        """Publishes files as an artifact and returns it as a stage's input."""
        if not isinstance(files, Path):
            source = self.folder / f"put-{len(list(self.folder.iterdir()))}"
            source.mkdir()
            for name, data in files.items():
                (source / name).write_bytes(data)
            files = source
        key = f"{len(list(self.folder.rglob('*'))):032x}"
        draft = Manifest(
            kind=kind, key=key, shard=0, shards=1, files=(), inputs={}, config={}, counts=counts
        )
        publishing.publish(self.store, NAMESPACE, draft, files)
        return self.input(kind, key)

    def put_rows(self, values: list[Schema]) -> Input:
        """Publishes rows as an imported data set."""
        path = self.folder / "rows.tmp"
        rows.write(path, values)
        return self.put("import", {rows.DATA: path.read_bytes()})

    def find(self, kind: str, key: str) -> Artifact | None:
        """Returns a complete artifact."""
        return publishing.find(self.store, NAMESPACE, kind, key)

    def input(self, kind: str, key: str) -> Input:
        """Returns a published artifact as a stage's input."""
        found = self.find(kind, key)
        assert found is not None
        return Input(artifact=found.name, digest=found.digest)

    def task(self, *stages: StageTask, shards: int = 1) -> Task:
        """Returns a task of these stages."""
        run = RunRef(kind="SelfRewardRun", namespace=NAMESPACE, name="run", uid="uid")
        return Task(run=run, job="job", attempt=1, shards=shards, stages=stages)

    def worker(self, scratch: str = "scratch", **fields: Any) -> frame.Worker:
        """Returns a worker on this store."""
        folder = self.folder / scratch
        folder.mkdir(exist_ok=True)
        return frame.Worker(store=self.store, scratch=folder, **fields)

    def run(self, config: StageConfig, shards: int = 1, **inputs: Input) -> Input:
        """Runs a stage in all its shards and returns its artifact as an input."""
        stage = StageTask(name="stage", config=config, inputs=inputs)
        task = self.task(stage, shards=shards)
        for shard in range(shards):
            keys = frame.run_task(task, self.worker(shard=shard))
        made = self.find(config.stage, keys["stage"])
        assert made is not None
        assert undeclared(made.kind, made.counts, made.metrics) == []
        return self.input(config.stage, keys["stage"])

    def result(self, given: Input) -> Artifact:
        """Returns the artifact behind an input."""
        kind, _, key = str(given.artifact).rpartition("-")
        found = self.find(kind, key)
        assert found is not None
        return found

    def manifest(self, given: Input) -> Manifest:
        """Returns what the only shard of an artifact published of itself."""
        kind, _, key = str(given.artifact).rpartition("-")
        found = publishing.published(self.store, NAMESPACE, kind, key, 0, 1)
        assert found is not None
        return found

    def fetch(self, given: Input, into: str = "fetched") -> Path:
        """Returns a local folder with an artifact's files."""
        kind, _, key = str(given.artifact).rpartition("-")
        path = self.folder / into / str(given.artifact)
        publishing.fetch(self.store, NAMESPACE, kind, key, str(given.digest), path)
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A store and what runs stages on it."""
    return Bench(tmp_path)


@pytest.fixture
def new_bench(tmp_path: Path) -> Callable[[str], Bench]:
    """Makes further stores that know nothing of each other."""

    def make(name: str) -> Bench:
        (tmp_path / name).mkdir()
        return Bench(tmp_path / name)

    return make


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random tiny model, the same for all tests."""
    from support.tiny import write_llama  # noqa: PLC0415 - torch takes seconds

    return write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of another random tiny model."""
    from support.tiny import write_llama  # noqa: PLC0415 - as above

    return write_llama(tmp_path_factory.mktemp("other"), seed=1)
