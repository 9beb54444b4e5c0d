"""How long Hypothesis looks: ``HYPOTHESIS_PROFILE=thorough`` for much longer."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings

from autodidact_contract.api import crd
from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.events import Recorder
from autodidact_operator.cluster.resources import (
    PROFILES,
    Body,
)
from autodidact_operator.progress import ProgressBook
from autodidact_operator.runs.memory import Memory
from autodidact_operator.runs.world import World
from autodidact_operator.settings import Settings
from autodidact_operator.telemetry import Telemetry
from autodidact_store.directory import DirectoryStore
from support import builders
from support.builders import MINIMAL
from support.control import RUNS, Clock, FakeKube, body
from support.interpreted import EXAMPLE, OPENED
from support.lent import FakeService
from support.served import PATIENCE_S, Scene, connected
from support.worlds import KEY
from tools.cluster.control_plane import Cluster

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)

settings.register_profile(
    "planning",
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=_SLOW,
    print_blob=True,
)
settings.register_profile("thorough", parent=settings.get_profile("planning"), max_examples=20000)


@pytest.fixture
def recorder(kube: FakeKube, clock: Clock) -> Recorder:
    """Posts to the fake API server."""
    return Recorder(kube, Telemetry(), "me", clock)


@pytest.fixture
def world(kube: FakeKube, recorder: Recorder, clock: Clock) -> World:
    """A world with one run."""
    cache = Cache([RUNS])
    cache.apply(RUNS, "ADDED", body(RUNS, "a", status={"phase": "Running"}))
    return World(
        kube=kube,
        cache=cache,
        runs=[RUNS],
        book=ProgressBook(),
        recorder=recorder,
        telemetry=Telemetry(),
        store=None,
        clock=clock,
    )


@pytest.fixture
def run(world: World) -> Body:
    """The run's object."""
    return world.snapshot(KEY).run


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Cluster:
    """The cluster with our definitions."""
    for definition in crd.definitions().values():
        cluster.kubectl("apply", "--server-side", "-f", "-", input_text=json.dumps(definition))
    names = [f"crd/{definition['metadata']['name']}" for definition in crd.definitions().values()]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return cluster


@pytest.fixture
def on_server(served: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], Any]:
    """Runs a scene with an administrator's client, in time that really passes."""
    monkeypatch.setenv("KUBECONFIG", str(served.kubeconfig))

    async def run(scene: Scene) -> Any:
        async with connected() as client, asyncio.timeout(4 * PATIENCE_S):
            return await scene(client)

    return lambda scene: asyncio.run(run(scene))


@pytest.fixture
def toy_body() -> dict[str, Any]:
    """A run object as the API server shows it."""
    run: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    run["metadata"] |= {
        "namespace": "research",
        "uid": "uid-a",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return run


@pytest.fixture
def memory() -> Memory:
    """An empty memory of an operator that writes details every two seconds."""
    return Memory(Settings(store="unused", import_prefixes=OPENED))


@pytest.fixture
def service() -> FakeService:
    """An STS that lends."""
    return FakeService()


@pytest.fixture
def cache() -> Cache:
    """What is known of a cluster with one run and no Job."""
    cache = Cache([RUNS])
    run = body(RUNS, "llama", builders.UID, status={}, spec=MINIMAL)
    run["apiVersion"] = RUNS.api_version
    run["metadata"] |= {"generation": 1, "creationTimestamp": builders.NOW.isoformat()}
    cache.apply(RUNS, "ADDED", run)
    cache.apply(PROFILES, "ADDED", body(PROFILES, "default", spec={}))
    return cache


@pytest.fixture
def lending_world(kube: FakeKube, cache: Cache, clock: Clock, tmp_path: Path) -> World:
    """A world with one run and no Job."""
    (tmp_path / "store").mkdir()
    kube.answers["patch_status"] = cache.get(RUNS, "research", "llama")
    telemetry = Telemetry()
    return World(
        kube=kube,
        cache=cache,
        runs=[RUNS],
        book=ProgressBook(),
        recorder=Recorder(kube, telemetry, "me", clock),
        telemetry=telemetry,
        store=DirectoryStore(tmp_path / "store"),
        clock=clock,
    )
