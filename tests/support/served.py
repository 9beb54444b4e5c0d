"""The operator beside a real API server that knows our kinds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubernetes.aio.client import ApiClient

from autodidact_operator.cluster import labels
from autodidact_operator.cluster.kube import connect
from autodidact_operator.cluster.registry import Watcher
from autodidact_operator.cluster.resources import (
    Body,
)
from autodidact_operator.process import Parts
from autodidact_operator.settings import Settings
from support.control import RUNS

Scene = Callable[[ApiClient], Awaitable[Any]]


PATIENCE_S = 20.0


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


def operator_settings(**more: Any) -> Settings:
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
