"""Against a real API server: what we rely on and fakes cannot prove."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient

from autodidact_operator.cluster import kube as module
from autodidact_operator.cluster.events import manifest as event_manifest
from autodidact_operator.cluster.kube import Kube, connect
from autodidact_operator.cluster.lease import Elector, KubeLease
from autodidact_operator.cluster.resources import (
    EVENTS,
    JOBS,
    LEASES,
    PODS,
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
from autodidact_operator.process import build
from support.control import RUNS
from support.served import Scene, connected, job_body, operator_settings, run_body, until, watching
from tools.cluster.control_plane import Cluster


def test_objects_are_created_read_listed_and_deleted(
    on_server: Callable[[Scene], Any],
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

    on_server(scene)


def test_a_list_is_read_in_pages(
    on_server: Callable[[Scene], Any],
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

    on_server(scene)


def test_a_status_is_replaced_as_a_whole(
    on_server: Callable[[Scene], Any],
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

    on_server(scene)


def test_a_status_never_reaches_another_run(
    on_server: Callable[[Scene], Any],
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

    on_server(scene)


def test_a_malformed_object_is_invalid(
    on_server: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """What the schema refuses is a permanent error with the server's own words."""

    async def scene(client: ApiClient) -> None:
        body = run_body("a", namespace)
        body["spec"]["iterations"] = -1
        with pytest.raises(InvalidObjectError, match=r"spec\.iterations"):
            await Kube(client).create(RUNS, namespace, body)

    on_server(scene)


def test_a_missing_right_is_named(
    on_server: Callable[[Scene], Any],
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

    on_server(scene)


def test_an_absent_server_is_transient(on_server: Callable[[Scene], Any]) -> None:
    """An API server that does not answer is worth another try."""

    async def scene(client: ApiClient) -> None:
        client.configuration.host = "https://127.0.0.1:9"
        with pytest.raises(ApiUnavailableError):
            await Kube(client).list(JOBS)

    on_server(scene)


def test_without_a_cluster_there_is_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither in a pod nor with a kubeconfig: the error says so."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="KUBECONFIG"):
        asyncio.run(connect())


def test_an_event_shows_with_the_run(
    on_server: Callable[[Scene], Any],
    served: Cluster,
    namespace: str,
) -> None:
    """`kubectl describe` of a run lists the Events that we post."""

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        run = await kube.create(RUNS, namespace, run_body("a", namespace))
        event = event_manifest(run, "Warning", "GateFailed", "too few pairs", "me")
        await kube.create(EVENTS, namespace, event)

    on_server(scene)
    shown = served.kubectl("-n", namespace, "describe", "selfrewardrun", "a")
    assert "GateFailed" in shown
    assert "too few pairs" in shown


def test_a_pods_token_tells_who_reports(
    on_server: Callable[[Scene], Any],
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

    on_server(scene)


def test_a_real_lease_changes_hands(
    on_server: Callable[[Scene], Any],
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

    on_server(scene)


def test_watches_bring_our_objects_and_leave_no_mark(
    on_server: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """Runs and their Jobs come by watch, foreign Jobs do not, and kopf writes nothing."""

    async def scene(client: ApiClient) -> None:
        parts = build(operator_settings(), client, [RUNS], None)
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

    on_server(scene)
