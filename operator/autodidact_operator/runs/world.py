"""The world around a reconcile: what it reads, what it writes, the clock and the store.

The answer to each write goes into the cache at once, so that the next decision sees it even if the
watch is late.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from autodidact_operator.cluster.cache import Cache, Snapshot
from autodidact_operator.cluster.events import EventType, Recorder
from autodidact_operator.cluster.kube import Kube
from autodidact_operator.cluster.resources import (
    JOBS,
    SECRETS,
    SERVICES,
    Body,
    Resource,
    RunKey,
)
from autodidact_operator.errors import AlreadyExistsError, ConflictError, NotFoundError
from autodidact_operator.progress import ProgressBook, Reports
from autodidact_operator.telemetry import Telemetry
from autodidact_store.protocol import Store

log = logging.getLogger(__name__)


class World:
    """Reads from the cache, writes to the API server.

    Args:
        kube: The API server.
        cache: What is known of it.
        runs: The resources of the kinds of runs.
        book: Progress reports.
        recorder: Events.
        telemetry: Metrics; a reconcile may add its own observations.
        store: The artifact store; its calls block, so call them in threads.
        clock: Monotonic seconds.

    Attributes:
        keepers: Called from time to time with the UIDs of all runs. Each forgets what it remembers
            of other runs.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        cache: Cache,
        runs: Iterable[Resource],
        book: ProgressBook,
        recorder: Recorder,
        telemetry: Telemetry,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._resources = {resource.kind: resource for resource in runs}
        self._book = book
        self._recorder = recorder
        self._clock = clock
        self._terminal: dict[str, float] = {}  # When a run's latest pod was seen to have ended.
        self.telemetry = telemetry
        self.store = store
        self.keepers: list[Callable[[set[str]], None]] = [book.keep]

    def snapshot(self, key: RunKey) -> Snapshot | None:
        """Returns what is known about a run, or None if there is no such run."""
        return self._cache.snapshot(key)

    def progress(self, run_uid: str) -> Reports:
        """Returns the latest progress reports of a run, by stage."""
        return self._book.latest(run_uid)

    def now(self) -> datetime:
        """Returns the time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Returns the seconds that progress reports are stamped with."""
        return self._clock()

    async def create_job(self, run: Body, manifest: Body) -> Body:
        """Create a Job of a run, or find that it exists already; returns it.

        Raises:
            ConflictError: If a Job of this name exists that does not belong to the run.
            OperatorError: As for every request.
        """
        job = await self._create_owned(JOBS, run, manifest)
        self._cache.observe_write(JOBS, dict(job))
        self.telemetry.jobs_created.labels(run["kind"]).inc()
        seen = self._terminal.pop(run["metadata"]["uid"], None)
        if seen is not None:
            self.telemetry.gap_seconds.observe(self._clock() - seen)
        return job

    async def create_service(self, run: Body, manifest: Body) -> Body:
        """Create a Service of a run, or find that it exists already; returns it.

        Raises:
            ConflictError: If a Service of this name exists that does not belong to the run.
            OperatorError: As for every request.
        """
        return await self._create_owned(SERVICES, run, manifest)

    async def apply_secret(self, manifest: Body) -> None:
        """Create or change a Secret, so that it is what its manifest says. Secrets are never read.

        Raises:
            ConflictError: If another client has written into it.
            OperatorError: As for every request.
        """
        await self._kube.apply(SECRETS, manifest["metadata"]["namespace"], manifest)

    async def delete_job(self, job: Body) -> None:
        """Delete this very Job and its pods; it is no error if the Job is gone already.

        Raises:
            OperatorError: As for every request.
        """
        metadata = job["metadata"]
        try:
            answer = await self._kube.delete(
                JOBS, metadata["namespace"], metadata["name"], uid=metadata["uid"]
            )
        except (NotFoundError, ConflictError):  # It is gone, or another Job has its name.
            answer = {"kind": "Status"}
        if answer.get("kind") == JOBS.kind:
            self._cache.observe_write(JOBS, answer)
        else:
            self._cache.observe_delete(JOBS, job)

    async def write_status(self, run: Body, status: Body) -> bool:
        """Make a run's status exactly this; returns False if the run is gone.

        Nothing is sent when the run has this status already.

        Raises:
            OperatorError: As for every request.
        """
        if run.get("status") == status:
            return True
        resource, metadata = self._resources[run["kind"]], run["metadata"]
        self.telemetry.status_bytes.labels(run["kind"]).observe(len(json.dumps(status)))
        try:
            answer = await self._kube.patch_status(
                resource, metadata["namespace"], metadata["name"], status, uid=metadata["uid"]
            )
        except NotFoundError:
            log.info("run is gone run=%s/%s", metadata["namespace"], metadata["name"])
            return False
        self._cache.observe_write(resource, answer)
        return True

    def event(self, run: Body, kind: EventType, reason: str, message: str) -> None:
        """Post an Event about a run in the background, the same one at most once in ten minutes."""
        self._recorder.record(run, kind, reason, message)

    def pod_ended(self, run_uid: str) -> None:
        """Note that a pod of a run was just seen to have ended, for the metric ``gap_seconds``."""
        self._terminal[run_uid] = self._clock()

    def keep(self, run_uids: Iterable[str]) -> None:
        """Forget what belongs to other runs."""
        wanted = set(run_uids)
        for keep in self.keepers:
            keep(wanted)
        self._terminal = {uid: at for uid, at in self._terminal.items() if uid in wanted}

    async def _create_owned(self, resource: Resource, run: Body, manifest: Body) -> Body:
        """Create an object; an object of this name that belongs to the run counts as created.

        Raises:
            ConflictError: If an object of this name does not belong to the run.
        """
        namespace = run["metadata"]["namespace"]
        name = manifest["metadata"]["name"]
        try:
            return await self._kube.create(resource, namespace, manifest)
        except AlreadyExistsError as error:
            found = await self._kube.get(resource, namespace, name)
            owners = found["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == run["metadata"]["uid"] for owner in owners):
                return found
            raise ConflictError(
                f"{resource.kind} {namespace}/{name} exists and does not belong to "
                f"{run['kind']} {run['metadata']['name']}; delete or rename one of them"
            ) from error
