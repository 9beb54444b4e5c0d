"""Carries a decision out, on a cluster or on one machine.

``cluster_effects`` does it on a cluster, ``local.run`` on one machine.
"""

import logging
from typing import Protocol

from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.types import Decision, Event, JobRequest

log = logging.getLogger(__name__)


class Effects(Protocol):
    """What a decision may do."""

    async def create(self, request: JobRequest) -> None:
        """Creates a Job; a Job of this name that belongs to the run counts as created."""
        ...

    async def delete(self, name: str) -> None:
        """Deletes a Job and its pods; the pods are given time to stop."""
        ...

    async def write(self, status: RunStatus) -> None:
        """Writes the status, if it differs from what is there."""
        ...

    def event(self, event: Event) -> None:
        """Posts an Event."""
        ...


async def act(decision: Decision, effects: Effects) -> None:
    """Carries a decision out. If this is killed anywhere, the next step does what is left."""
    for name in decision.delete:
        await effects.delete(name)
    for request in decision.create:
        log.info("create job=%s attempt=%d", request.job, request.attempt)
        await effects.create(request)
    await effects.write(decision.status)
    for event in decision.events:
        effects.event(event)
