"""Carrying a decision out, on a cluster or on one machine."""

import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import Artifact, run_prefix
from autodidact_contract.base import canonical_json
from autodidact_contract.task import RunRef
from autodidact_operator.plan.types import Decision, Event, JobRequest
from autodidact_store.protocol import Store

log = logging.getLogger(__name__)

RECORD = "run.json"


class Effects(Protocol):
    """What a decision may do to the world."""

    async def create(self, request: JobRequest) -> None:
        """Creates a Job; one of this name that is the run's own counts as created."""
        ...

    async def delete(self, name: str) -> None:
        """Deletes a Job and its pods, which are told to stop and given time to."""
        ...

    async def write(self, status: RunStatus) -> None:
        """Writes the status, if it differs from what is there."""
        ...

    def event(self, event: Event) -> None:
        """Tells of an event."""
        ...


async def act(decision: Decision, effects: Effects) -> None:
    """Carries a decision out. Killed anywhere, the next step does what is left."""
    for name in decision.delete:
        await effects.delete(name)
    for request in decision.create:
        log.info("create job=%s attempt=%d", request.job, request.attempt)
        await effects.create(request)
    await effects.write(decision.status)
    for event in decision.events:
        effects.event(event)


MAX_RECORD_BYTES = 1 << 20


def last_status(store: Store, namespace: str, kind: str, name: str) -> RunStatus | None:
    """Returns how the last run of a name ended, from the records; None where there is none.

    Raises:
        StoreError: The records could not be read.
    """
    found = [
        RunStatus.model_validate(record["status"])
        for entry in store.entries(f"{namespace}/runs/")
        if entry.key.endswith(f"/{RECORD}")
        for record in [json.loads(store.read(entry.key, MAX_RECORD_BYTES))]
        if (record["run"]["kind"], record["run"]["name"]) == (kind, name)
    ]
    return max(found, key=lambda status: status.finished_at or "", default=None)


def write_record(
    store: Store,
    ref: RunRef,
    spec: Mapping[str, Any],
    status: RunStatus,
    artifacts: Mapping[str, Artifact],
) -> str:
    """Writes ``run.json``: what was asked, what came out, and from which artifacts.

    Returns:
        The record's key.

    Raises:
        StoreError: It could not be written.
    """
    key = run_prefix(ref.namespace, ref.uid) + RECORD
    lineage = {name: {"artifact": a.name, "digest": a.digest} for name, a in artifacts.items()}
    record = {"run": ref.dump(), "spec": spec, "status": status.dump(), "artifacts": lineage}
    store.replace(key, canonical_json(record))
    return key
