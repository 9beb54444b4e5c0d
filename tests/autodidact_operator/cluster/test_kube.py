"""Against a real API server: what we rely on and fakes cannot prove."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient

from autodidact_contract.api import crd
from autodidact_operator import process
from autodidact_operator.cluster import kube as module
from autodidact_operator.cluster import labels
from autodidact_operator.cluster.events import manifest as event_manifest
from autodidact_operator.cluster.kube import Kube, connect
from autodidact_operator.cluster.lease import Elector, KubeLease
from autodidact_operator.cluster.registry import Watcher
from autodidact_operator.cluster.resources import (
    EVENTS,
    JOBS,
    LEASES,
    PODS,
    PROFILES,
    Body,
    RunKey,
)
from autodidact_operator.errors import (
    AlreadyExistsError,
    ApiUnavailableError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    InvalidObjectError,
    NotFoundError,
)
from autodidact_operator.process import Parts, build
from autodidact_operator.settings import Settings
from support.control import RUNS
from tools.cluster.control_plane import Cluster

Scene = Callable[[ApiClient], Awaitable[Any]]
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Cluster:
    """The cluster with our definitions."""
    for definition in crd.definitions().values():
        cluster.kubectl("apply", "--server-side", "-f", "-", input_text=json.dumps(definition))
    names = [f"crd/{definition['metadata']['name']}" for definition in crd.definitions().values()]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return cluster


@pytest.fixture
def play(served: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], Any]:
    """Runs a scene with an administrator's client, in time that really passes."""
    monkeypatch.setenv("KUBECONFIG", str(served.kubeconfig))

    async def run(scene: Scene) -> Any:
        async with connected() as client, asyncio.timeout(4 * PATIENCE_S):
            return await scene(client)

    return lambda scene: asyncio.run(run(scene))


@asynccontextmanager
async def connected(kubeconfig: Path | None = None) -> AsyncIterator[ApiClient]:
    """A client that is closed afterwards."""
    client = await connect(str(kubeconfig) if kubeconfig else None)
    try:
        yield client
    finally:
        await client.close()


async def until(holds: Callable[[], Any]) -> Any:
    """Returns what a condition returns once it is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := holds()):  # noqa: ASYNC110 - the API server knows no events of ours.
            await asyncio.sleep(0.01)
    return found


def settings(**more: Any) -> Settings:
    """Settings of an operator that serves the default namespace."""
    return Settings(store="/nowhere", port=0, **more)


def run_body(name: str, namespace: str) -> Body:
    """A run as a user writes it."""
    data = {part: {"uri": f"toy://copy/{part}"} for part in ("instructions", "heldOut")}
    return {
        "apiVersion": RUNS.api_version,
        "kind": RUNS.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": "toy://copy"},
            "data": data | {"evaluations": {"uri": "toy://copy/evaluations"}},
            "iterations": 1,
            "compute": {"generate": "cpu", "train": "cpu", "default": "cpu"},
        },
    }


def job_body(name: str, namespace: str, run: Body | None = None) -> Body:
    """A Job that never starts; with our labels if it belongs to a run."""
    own = {}
    if run:
        own = {
            labels.RUN: run["metadata"]["name"],
            labels.RUN_UID: run["metadata"]["uid"],
            labels.KIND: run["kind"].lower(),
        }
    container = {"name": "worker", "image": "none"}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": own},
        "spec": {"suspend": True, "template": {"metadata": {"labels": own}, "spec": pod}},
    }


@asynccontextmanager
async def watching(client: ApiClient, parts: Parts) -> AsyncIterator[Watcher]:
    """An operator's watches, without workers."""
    watcher = Watcher(
        client=client,
        watches=parts.watches,
        resources=parts.cache.resources,
        namespaces=parts.settings.watch_namespaces,
        observe=parts.controller.observe,
    )
    task = await watcher.start()
    try:
        await until(lambda: len(parts.watches._seen) == len(parts.cache.resources))
        yield watcher
    finally:
        watcher.stop()
        await asyncio.wait([task], timeout=PATIENCE_S)


def test_objects_are_created_read_listed_and_deleted(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """The verbs do what they say, and a second create or a second delete has its own error."""

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        made = await kube.create(JOBS, namespace, job_body("a", namespace))
        with pytest.raises(AlreadyExistsError):
            await kube.create(JOBS, namespace, job_body("a", namespace))
        assert (await kube.get(JOBS, namespace, "a"))["metadata"]["uid"] == made["metadata"]["uid"]
        with pytest.raises(ConflictError):
            await kube.delete(JOBS, namespace, "a", uid="another")
        answer = await kube.delete(JOBS, namespace, "a", uid=made["metadata"]["uid"])
        assert answer["kind"] == "Status"
        with pytest.raises(NotFoundError):
            await kube.delete(JOBS, namespace, "a")

    play(scene)


def test_a_list_is_read_in_pages(
    play: Callable[[Scene], Any],
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A LIST of several pages is whole, has a version, and respects labels."""
    monkeypatch.setattr(module, "PAGE_SIZE", 2)

    async def scene(client: ApiClient) -> None:
        asked = []
        kube = Kube(client, lambda verb, _resource, _code: asked.append(verb))
        for number in range(5):
            body = job_body(f"j{number}", namespace)
            body["metadata"]["labels"] = {"parity": str(number % 2)}
            await kube.create(JOBS, namespace, body)
        items, version = await kube.list(JOBS, namespace)
        odd, _ = await kube.list(JOBS, namespace, labels="parity=1")
        assert len(items) == 5
        assert int(version) >= max(int(i["metadata"]["resourceVersion"]) for i in items)
        assert [i["metadata"]["name"] for i in odd] == ["j1", "j3"]
        assert asked.count("list") >= 3 + 1

    play(scene)


def test_a_status_is_replaced_as_a_whole(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """A field that the new status lacks is gone, and the spec is left alone."""

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        run = await kube.create(RUNS, namespace, run_body("a", namespace))
        uid = run["metadata"]["uid"]
        await kube.patch_status(RUNS, namespace, "a", {"phase": "Running", "stage": "x"}, uid=uid)
        after = await kube.patch_status(RUNS, namespace, "a", {"phase": "Succeeded"}, uid=uid)
        assert after["status"]["phase"] == "Succeeded"
        assert not after["status"].get("stage")
        assert after["spec"] == run["spec"]
        assert after["metadata"]["generation"] == 1

    play(scene)


def test_a_status_never_reaches_another_run(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """Neither a run created again under the name nor a deleted one takes the status."""

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        run = await kube.create(RUNS, namespace, run_body("a", namespace))
        with pytest.raises(NotFoundError):
            await kube.patch_status(RUNS, namespace, "a", {"phase": "Running"}, uid="earlier")
        with pytest.raises(ConflictError):
            await kube.patch_status(RUNS, namespace, "a", {}, resource_version="1")
        assert (await kube.get(RUNS, namespace, "a"))["status"] == run["status"]
        await kube.delete(RUNS, namespace, "a")
        with pytest.raises(NotFoundError):
            await kube.patch_status(RUNS, namespace, "a", {}, uid=run["metadata"]["uid"])

    play(scene)


def test_a_malformed_object_is_invalid(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """What the schema refuses is a permanent error with the server's own words."""

    async def scene(client: ApiClient) -> None:
        body = run_body("a", namespace)
        body["spec"]["iterations"] = -1
        with pytest.raises(InvalidObjectError, match=r"spec\.iterations"):
            await Kube(client).create(RUNS, namespace, body)

    play(scene)


def test_a_missing_right_is_named(
    play: Callable[[Scene], Any],
    served: Cluster,
    namespace: str,
) -> None:
    """Somebody without rights learns which verb on what is missing."""
    nobody = served.write_kubeconfig(f"nobody-{secrets.token_hex(3)}", "nobody")

    async def scene(_client: ApiClient) -> None:
        async with connected(nobody) as client:
            with pytest.raises(ForbiddenError) as caught:
                await Kube(client).list(JOBS, namespace)
        assert (caught.value.verb, caught.value.resource) == ("list", "jobs.batch")

    play(scene)


def test_an_absent_server_is_transient(play: Callable[[Scene], Any]) -> None:
    """An API server that does not answer is worth another try."""

    async def scene(client: ApiClient) -> None:
        client.configuration.host = "https://127.0.0.1:9"
        with pytest.raises(ApiUnavailableError):
            await Kube(client).list(JOBS)

    play(scene)


def test_without_a_cluster_there_is_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither in a pod nor with a kubeconfig: the error says so."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        asyncio.run(connect())


def test_an_event_shows_with_the_run(
    play: Callable[[Scene], Any],
    served: Cluster,
    namespace: str,
) -> None:
    """`kubectl describe` of a run lists the Events that we post."""

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        run = await kube.create(RUNS, namespace, run_body("a", namespace))
        event = event_manifest(run, "Warning", "GateFailed", "too few pairs", "me")
        await kube.create(EVENTS, namespace, event)

    play(scene)
    shown = served.kubectl("-n", namespace, "describe", "selfrewardrun", "a")
    assert "GateFailed" in shown
    assert "too few pairs" in shown


def test_a_pods_token_tells_who_reports(
    play: Callable[[Scene], Any],
    served: Cluster,
    namespace: str,
) -> None:
    """A token bound to a pod is valid for its audience only, and names the pod."""

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        body = job_body("a", namespace)["spec"]["template"]
        pod = await kube.create(PODS, namespace, {**body, "metadata": {"name": "p"}})
        bound = ["--bound-object-kind=Pod", "--bound-object-name=p"]
        token = served.kubectl(
            "-n", namespace, "create", "token", "default", "--audience=ours", *bound
        ).strip()
        identity = await kube.token_review(token, ["ours"])
        assert identity is not None
        assert identity.namespace == namespace
        assert (identity.pod_name, identity.pod_uid) == ("p", pod["metadata"]["uid"])
        assert await kube.token_review(token, ["other"]) is None
        assert await kube.token_review("forged", ["ours"]) is None
        await kube.delete(PODS, namespace, "p")

    play(scene)


def test_a_real_lease_changes_hands(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """A candidate gets a released Lease, renews it, and a late write of the other is refused."""

    async def scene(client: ApiClient) -> None:
        store = KubeLease(Kube(client), namespace, "leader")
        first = Elector(store, "first", address="http://1.2.3.4:8080")
        second = Elector(store, "second")
        await first.acquire()
        stale = await store.read()
        assert stale is not None
        assert (stale.holder, stale.address) == ("first", "http://1.2.3.4:8080")
        assert await first.attempt()
        assert not await second.attempt()
        assert second.leader_address == "http://1.2.3.4:8080"
        await first.release()
        assert await second.attempt()
        with pytest.raises(ConflictError):
            await store.write(stale)
        spec = (await Kube(client).get(LEASES, namespace, "leader"))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)

    play(scene)


def test_watches_bring_our_objects_and_leave_no_mark(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """Runs and their Jobs come by watch, foreign Jobs do not, and kopf writes nothing."""

    async def scene(client: ApiClient) -> None:
        parts = build(settings(), client, [RUNS], None)
        kube = parts.kube
        key = RunKey(RUNS.kind, namespace, "a")
        async with watching(client, parts):
            run = await kube.create(RUNS, namespace, run_body("a", namespace))
            await kube.create(JOBS, namespace, job_body("foreign", namespace))
            await kube.create(JOBS, namespace, job_body("ours", namespace, run))
            await until(lambda: (found := parts.cache.snapshot(key)) and found.jobs)
            assert parts.cache.sizes()["jobs.batch"] == 1
            await kube.delete(JOBS, namespace, "ours")
            await until(lambda: not parts.cache.sizes()["jobs.batch"])
            await kube.delete(JOBS, namespace, "foreign")
        after = await kube.get(RUNS, namespace, "a")
        assert after["metadata"]["resourceVersion"] == run["metadata"]["resourceVersion"]
        assert "annotations" not in after["metadata"]
        assert "finalizers" not in after["metadata"]

    play(scene)


def test_only_served_namespaces_are_watched(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """A namespaced operator sees runs of its namespace, and the cluster's profiles."""

    async def scene(client: ApiClient) -> None:
        parts = build(settings(watch_namespaces=(namespace,)), client, [RUNS], None)
        kube = parts.kube
        name = f"cpu-{secrets.token_hex(3)}"
        profile = {"apiVersion": PROFILES.api_version, "kind": PROFILES.kind, "spec": {}}
        async with watching(client, parts):
            elsewhere = await kube.create(RUNS, "default", run_body(f"x-{name}", "default"))
            await kube.create(PROFILES, None, {**profile, "metadata": {"name": name}})
            await kube.create(RUNS, namespace, run_body("a", namespace))
            await until(lambda: parts.cache.get(RUNS, namespace, "a"))
            await until(lambda: parts.cache.get(PROFILES, "", name))
            assert parts.cache.get(RUNS, "default", f"x-{name}") is None
        await kube.delete(RUNS, "default", elsewhere["metadata"]["name"])
        await kube.delete(PROFILES, None, name)

    play(scene)


def test_after_a_list_of_kopfs_own_ghosts_are_purged(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """An object deleted unseen goes away, and its run is looked at, once kopf lists again."""

    async def scene(client: ApiClient) -> None:
        parts = build(settings(), client, [RUNS], None)
        run = await parts.kube.create(RUNS, namespace, run_body("a", namespace))
        ghost = await parts.kube.create(JOBS, namespace, job_body("ghost", namespace, run))
        await parts.kube.delete(JOBS, namespace, "ghost")
        parts.controller.observe(JOBS, "ADDED", ghost)
        assert parts.cache.sizes()["jobs.batch"] == 1
        resyncing = asyncio.create_task(parts.controller.resync_forever())
        async with watching(client, parts):
            await until(lambda: not parts.cache.sizes()["jobs.batch"])
        resyncing.cancel()

    play(scene)


def test_the_process_leads_reconciles_and_stops(
    play: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """A whole operator takes the Lease, reconciles a run, and gives the Lease back at its end."""
    seen: list[RunKey] = []

    async def reconcile(key: RunKey) -> float | None:
        seen.append(key)
        return None

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        chosen = settings(namespace=namespace, watch_namespaces=(namespace,))
        stop = asyncio.Event()
        operating = asyncio.create_task(
            process.run(chosen, [RUNS], lambda _: reconcile, None, stop)
        )
        await kube.create(RUNS, namespace, run_body("a", namespace))
        key = RunKey(RUNS.kind, namespace, "a")
        await until(lambda: key in seen or operating.done())
        assert await held_by(kube, namespace, chosen.lease_name)
        stop.set()
        async with asyncio.timeout(5):
            await operating
        assert not await held_by(kube, namespace, chosen.lease_name)
        assert not {"annotations", "finalizers"} & set(await marks(kube, key))

    play(scene)


async def held_by(kube: Kube, namespace: str, name: str) -> str:
    """Who holds a Lease."""
    lease = await kube.get(LEASES, namespace, name)
    return str(lease["spec"].get("holderIdentity") or "")


async def marks(kube: Kube, key: RunKey) -> list[str]:
    """What a run's metadata holds."""
    return list((await kube.get(RUNS, key.namespace, key.name))["metadata"])
