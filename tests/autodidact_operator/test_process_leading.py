import asyncio
from collections.abc import Callable
from typing import Any

from kubernetes.aio.client import ApiClient

from autodidact_operator import process
from autodidact_operator.cluster.kube import Kube
from autodidact_operator.cluster.resources import (
    LEASES,
    RunKey,
)
from support.control import RUNS
from support.served import Scene, operator_settings, run_body, until


def test_the_process_leads_reconciles_and_stops(
    on_server: Callable[[Scene], Any],
    namespace: str,
) -> None:
    """A whole operator takes the Lease, reconciles a run, and gives the Lease back at its end."""
    seen: list[RunKey] = []

    async def reconcile(key: RunKey) -> float | None:
        seen.append(key)
        return None

    async def scene(client: ApiClient) -> None:
        kube = Kube(client)
        chosen = operator_settings(namespace=namespace, watch_namespaces=(namespace,))
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

    on_server(scene)


async def held_by(kube: Kube, namespace: str, name: str) -> str:
    """Who holds a Lease."""
    lease = await kube.get(LEASES, namespace, name)
    return str(lease["spec"].get("holderIdentity") or "")


async def marks(kube: Kube, key: RunKey) -> list[str]:
    """What a run's metadata holds."""
    return list((await kube.get(RUNS, key.namespace, key.name))["metadata"])
