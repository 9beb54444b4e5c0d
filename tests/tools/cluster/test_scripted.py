"""The scripted node: outcomes without processes."""

import asyncio
from typing import Any

from tools.cluster import manifests
from tools.cluster.api import Api, JsonObject
from tools.cluster.control_plane import Cluster
from tools.cluster.outcomes import Outcome
from tools.cluster.scripted import ScriptedNode
from tools.cluster.waiting import eventually_async


def _job(namespace: str, name: str, node: str, **spec: Any) -> JsonObject:
    return manifests.job(namespace, name, ["ignored"], nodeSelector={"play": node}, **spec)


async def _finished(api: Api, namespace: str, count: int) -> list[JsonObject]:
    async def pods() -> list[JsonObject]:
        listed = await api.get(f"/api/v1/namespaces/{namespace}/pods")
        ended = [p for p in listed["items"] if p["status"]["phase"] in ("Succeeded", "Failed")]
        return ended if len(ended) == count else []

    return await eventually_async(pods)


def test_pods_end_as_the_script_says(cluster: Cluster, namespace: str) -> None:
    """Each pod gets the outcome its script chose, after what the script does before."""
    done: list[str] = []

    async def note() -> None:
        done.append("before")

    def play(pod: JsonObject) -> Outcome:
        if pod["metadata"]["labels"]["kind"] == "good":
            return Outcome(message="fine", before=note)
        return Outcome(exit_code=137, reason="OOMKilled")

    async def story() -> list[JsonObject]:
        async with cluster.api() as api:
            labels = {"play": namespace}
            async with ScriptedNode(api, play, name=f"node-{namespace}", labels=labels) as node:
                for kind in ("good", "bad"):
                    job = _job(namespace, kind, namespace, labels={"kind": kind})
                    await api.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
                pods = await _finished(api, namespace, 2)
                await node.drop()
        return sorted(pods, key=lambda pod: pod["metadata"]["name"])

    bad, good = (p["status"]["containerStatuses"][0]["state"] for p in asyncio.run(story()))
    assert (bad["terminated"]["exitCode"], bad["terminated"]["reason"]) == (137, "OOMKilled")
    assert good["terminated"]["message"] == "fine"
    assert done == ["before"]


def test_a_deleted_pod_fails_and_goes_away(cluster: Cluster, namespace: str) -> None:
    """A pod deleted in the middle of its act ends at once and its name is free."""

    async def story() -> None:
        async with cluster.api() as api:
            labels, pods = {"play": namespace}, f"/api/v1/namespaces/{namespace}/pods"

            def play(_pod: JsonObject) -> Outcome:
                return Outcome(delay_s=60)

            async with ScriptedNode(api, play, name=f"node-{namespace}", labels=labels) as node:
                selector = {"play": namespace}
                await api.create(pods, manifests.pod(namespace, "p", ["x"], nodeSelector=selector))

                async def running() -> bool:
                    return bool((await api.get(f"{pods}/p"))["status"]["phase"] == "Running")

                async def gone() -> bool:
                    return not (await api.get(pods))["items"]

                await eventually_async(running)
                await api.delete(f"{pods}/p")
                await eventually_async(gone)
                await node.drop()

    asyncio.run(story())
