"""The operator on a control plane whose pods are scripted: what gaps and throughput need.

The operator is a process of its own with the rights and the settings that the chart gives it; API
server, etcd, Job controller and scheduler are real, and so is the store.
"""

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import yaml

from autodidact_contract.base import GROUP, VERSION
from autodidact_store import open_store
from support.scripted_stages import ScriptedStages
from tools import auditing
from tools.cluster.api import Api
from tools.cluster.control_plane import Cluster, Options
from tools.cluster.processes import Keeper, Process
from tools.cluster.scripted import ScriptedNode
from tools.installation import BUCKET, DEPLOYMENT, SYSTEM, Installation
from tools.paths import EXAMPLES

USER = f"system:serviceaccount:{SYSTEM}:{DEPLOYMENT}"
JOBS_PER_RUN = 12
"""Jobs of a SelfRewardRun of two iterations whose stages are not sharded."""

_POLL_S = 0.5
_TIMEOUT_S = 900.0
_SETTLE_S = 2.0
_seeds = itertools.count(1)


@dataclass(kw_only=True)
class Plane:
    """A control plane with a scripted node and the operator.

    Attributes:
        rss: The operator's resident bytes, sampled.
        cpu_s: The operator's CPU seconds at the last sample.
    """

    cluster: Cluster
    api: Api
    operator: psutil.Process
    rss: list[int] = field(default_factory=list)
    cpu_s: float = 0.0

    async def run(self, namespace: str, count: int) -> None:
        """Creates runs and returns when all of them Succeeded.

        Every run has a seed of its own, so that nothing of an earlier one is adopted.

        Raises:
            RuntimeError: If a run did not succeed.
        """
        self.cluster.create_namespace(namespace)
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/selfrewardruns"
        manifests = [_manifest(f"run-{number}") for number in range(count)]
        await asyncio.gather(*(self.api.create(path, manifest) for manifest in manifests))
        async with asyncio.timeout(_TIMEOUT_S):
            # What is awaited is on the server; a watch would cost more than it is worth.
            while not await self._all_succeeded(path, count):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
        # The last Events are still being posted, and the audit log is written behind.
        await asyncio.sleep(_SETTLE_S)

    async def _all_succeeded(self, path: str, count: int) -> bool:
        self.sample()
        items = (await self.api.get(path))["items"]
        phases = Counter(item.get("status", {}).get("phase", "") for item in items)
        if phases["Failed"]:
            failed = next(i for i in items if i.get("status", {}).get("phase") == "Failed")
            raise RuntimeError(f"{failed['metadata']['name']}: {failed['status']['conditions'][0]}")
        return phases["Succeeded"] == count

    def sample(self) -> None:
        """Notes the operator's memory and CPU time."""
        self.rss.append(self.operator.memory_info().rss)
        times = self.operator.cpu_times()
        self.cpu_s = times.user + times.system

    def gaps(self, namespace: str) -> list[float]:
        """Returns the gaps of the runs in a namespace, in seconds."""
        return auditing.stage_gaps(self.cluster.audit_log, namespace)

    def writes_per_job(self, namespace: str, runs: int) -> float:
        """Returns the operator's writes for each Job of the runs in a namespace."""
        writes = auditing.operator_writes(self.cluster.audit_log, namespace, USER)
        return sum(writes.values()) / (runs * JOBS_PER_RUN)

    def seconds(self, namespace: str) -> float:
        """Returns the time from the first run's creation to the last status of any."""
        return auditing.seconds_of_runs(self.cluster.audit_log, namespace, "selfrewardruns")


@asynccontextmanager
async def started(
    *, delay_s: float, load: bool = False, profile: Path | None = None
) -> AsyncIterator[Plane]:
    """Starts everything and ends it afterwards.

    Args:
        delay_s: How long each pod works.
        load: Let pods cost as little as they can: one status write, for none is long enough to be
            seen running, and one request to the store for each artifact.
        profile: Where to write what cProfile says about the operator's event loop.
    """
    with Cluster(options=Options(fast=True, audit_rules=auditing.RULES)) as cluster:
        # The chart without its pod: definitions, rights and settings.
        installed = Installation(cluster=cluster, values={"replicas": 0})
        installed.make_bucket()
        cluster.create_namespace(SYSTEM)
        installed.helm()
        stages = ScriptedStages(
            store=open_store(f"s3://{BUCKET}", installed.store_environment()),
            delay_s=delay_s,
            manifests_only=load,
        )
        keeper = Keeper(cluster.directory / "bench")
        try:
            operator = _start_operator(installed, keeper, profile)
            operator.wait_until(lambda: _is_ready(installed.port))
            async with (
                cluster.api("bench") as api,
                ScriptedNode(api, stages.play, report_running=not load),
            ):
                plane = Plane(cluster=cluster, api=api, operator=psutil.Process(operator.pid))
                plane.sample()
                yield plane
            operator.stop()
        finally:
            keeper.close()


def _start_operator(installed: Installation, keeper: Keeper, profile: Path | None) -> Process:
    """Starts the operator as a process with the account and the environment of its pod."""
    cluster = installed.cluster
    deployment = cluster.get("deployment", DEPLOYMENT, SYSTEM)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    environment = {item["name"]: item["value"] for item in container["env"] if "value" in item}
    del environment["AUTODIDACT_STORE_CREDENTIALS"]  # No Secret is mounted; the keys follow.
    environment |= {
        **installed.store_environment(),
        "AUTODIDACT_NAMESPACE": SYSTEM,
        "KUBECONFIG": str(cluster.write_kubeconfig("operator", USER)),
        "HOME": str(cluster.directory),
        "PATH": os.defpath,
    }
    profiling = ["-m", "cProfile", "-o", str(profile.absolute())] if profile else []
    command = [sys.executable, *profiling, "-m", "autodidact_operator"]
    return keeper.start("operator", command, environment, grace_s=10.0)


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, HTTPException, OSError):
        return False


def _manifest(name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLES / "selfreward-toy.yaml").read_text())
    manifest["metadata"]["name"] = name
    manifest["spec"]["seed"] = next(_seeds)
    return manifest
