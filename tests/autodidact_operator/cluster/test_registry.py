import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from kubernetes.aio.client import ApiClient

from autodidact_operator.cluster.resources import (
    JOBS,
    PROFILES,
)
from autodidact_operator.process import build
from support.control import RUNS
from support.served import Scene, job_body, operator_settings, run_body, until, watching


def test_only_served_namespaces_are_watched(
    on_server: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """A namespaced operator sees runs of its namespace, and the cluster's profiles."""

    async def scene(client: ApiClient) -> None:
        parts = build(operator_settings(watch_namespaces=(namespace,)), client, [RUNS], None)
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

    on_server(scene)


def test_after_a_list_of_kopfs_own_ghosts_are_purged(
    on_server: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """An object deleted unseen goes away, and its run is looked at, once kopf lists again."""

    async def scene(client: ApiClient) -> None:
        parts = build(operator_settings(), client, [RUNS], None)
        run = await parts.kube.create(RUNS, namespace, run_body("a", namespace))
        ghost = await parts.kube.create(JOBS, namespace, job_body("ghost", namespace, run))
        await parts.kube.delete(JOBS, namespace, "ghost")
        parts.controller.observe(JOBS, "ADDED", ghost)
        assert parts.cache.sizes()["jobs.batch"] == 1
        resyncing = asyncio.create_task(parts.controller.resync_forever())
        async with watching(client, parts):
            await until(lambda: not parts.cache.sizes()["jobs.batch"])
        resyncing.cancel()

    on_server(scene)
