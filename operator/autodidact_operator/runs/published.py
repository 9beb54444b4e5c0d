"""What is published of a run.

An artifact that was found once is remembered. For one that was not found, the store is asked again
only after something that may have published it.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from autodidact_contract.artifacts import Artifact, fold
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.progression import frontier
from autodidact_operator.plan.types import Graph, ObservedJob
from autodidact_store.errors import StoreError, StoreUnavailableError
from autodidact_store.protocol import Store
from autodidact_store.publishing import find, published

LOOKUP_TIMEOUT_S = 20.0


class Library:
    """The artifacts of runs.

    Args:
        store: Where they are; its calls block, so they are made in threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, dict[str, Artifact]] = {}
        self._asked: dict[str, set[str]] = {}

    async def artifacts(
        self, uid: str, namespace: str, graph: Graph, busy: Collection[str]
    ) -> Mapping[str, Artifact]:
        """Returns what is published, by stage name.

        The key of a stage follows from its inputs. So what is found makes the keys of further
        stages known, and the search goes on until it finds nothing more. A run that was done before
        in this namespace is found as a whole.

        Args:
            uid: The run's.
            namespace: The run's.
            graph: The run as a graph; the same for every call with this UID.
            busy: Jobs that are at work and have not ended. The store is not asked again for what
                they will publish.

        Raises:
            StoreError: The store does not answer, or not as it should.
        """
        known = self._known.setdefault(uid, {})
        asked = self._asked.setdefault(uid, set())
        seen_now: set[str] = set()
        worked: set[str] = set()  # Jobs of which something new was found.
        while wanted := {
            name: place
            for name, place in frontier(graph, known).items()
            if name not in seen_now and (name not in asked or graph[name].job not in busy)
        }:
            whole = {
                name
                for name in wanted
                if graph[name].shards == 1 and (name in asked or graph[name].job in worked)
            }
            new = await self._look_up(namespace, wanted, whole)
            asked.update(wanted)
            seen_now.update(wanted)
            known.update(new)
            worked.update(graph[name].job for name in new)
        return dict(known)

    def keep(self, uids: Iterable[str]) -> None:
        """Forgets all other runs."""
        wanted = set(uids)
        self._known = {uid: known for uid, known in self._known.items() if uid in wanted}
        self._asked = {uid: asked for uid, asked in self._asked.items() if uid in wanted}

    async def _look_up(
        self, namespace: str, places: Mapping[str, tuple[str, str]], whole: Collection[str]
    ) -> dict[str, Artifact]:
        """Returns the artifacts that are published, by stage name.

        Args:
            namespace: The run's.
            places: Kind and key to look for, by stage name.
            whole: Stages whose artifact is likely there, in one shard.
        """
        found = await asyncio.gather(
            *(self._look(namespace, *place, whole=name in whole) for name, place in places.items())
        )
        return {name: a for name, a in zip(places, found, strict=True) if a}

    async def _look(self, namespace: str, kind: str, key: str, *, whole: bool) -> Artifact | None:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                return await asyncio.to_thread(self._find, namespace, kind, key, whole=whole)
        except TimeoutError as error:
            raise StoreUnavailableError(
                f"{self._store.uri} did not answer within {LOOKUP_TIMEOUT_S:.0f} s"
            ) from error

    def _find(self, namespace: str, kind: str, key: str, *, whole: bool) -> Artifact | None:
        """Returns an artifact, None if it is not there; ``whole`` saves a request if it is."""
        manifest = published(self._store, namespace, kind, key, 0, 1) if whole else None
        return fold([manifest]) if manifest else find(self._store, namespace, kind, key)


def busy(jobs: Iterable[ObservedJob]) -> frozenset[str]:
    """Returns the jobs that have a Job at work of which no pod has ended."""
    return frozenset(
        job.job
        for job in jobs
        if not (job.ended or job.stopping)
        and not any(pod.phase in ("Succeeded", "Failed") for pod in job.pods)
    )


def problem(error: StoreError) -> Problem:
    """Returns the problem of a run that met an error of the store."""
    name = type(error).__name__.removesuffix("Error")
    return Problem(name if name.startswith("Store") else f"Store{name}", str(error))
