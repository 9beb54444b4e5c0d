"""Carries decisions about one run out on a cluster."""

from dataclasses import dataclass

from autodidact_contract.api.profile import ComputeProfileSpec
from autodidact_contract.api.status import RunStatus
from autodidact_operator.cluster.cache import Snapshot
from autodidact_operator.errors import ConflictError, ForbiddenError, InvalidObjectError
from autodidact_operator.plan.types import Event, JobRequest
from autodidact_operator.runs import jobs
from autodidact_operator.runs.lending import Lender, Planned
from autodidact_operator.runs.memory import Memory
from autodidact_operator.runs.world import World
from autodidact_operator.settings import Settings

REFUSALS = (ConflictError, ForbiddenError, InvalidObjectError)
"""What the API server answers to a write that it does not take."""


class NotCreatedError(Exception):
    """The API server refused a Job: a quota, an admission policy, a name that is taken."""


@dataclass(frozen=True, kw_only=True)
class ClusterEffects:
    """The ``Effects`` of decisions about one run.

    Attributes:
        world: Where they happen.
        memory: Learns when the status was written.
        settings: The operator's settings.
        lender: Of credentials to Jobs; None where all use one Secret.
        snapshot: The run, as the decision saw it.
        planned: The run with its graph; None for a run without Jobs to create.
    """

    world: World
    memory: Memory
    settings: Settings
    lender: Lender | None
    snapshot: Snapshot
    planned: Planned | None = None

    async def create(self, request: JobRequest) -> None:
        """Creates a Job, its Service and its Secret.

        Raises:
            NotCreatedError: The API server refuses one of them.
            StoreError: The STS does not lend the Job's credentials.
            OperatorError: The API server cannot be asked now.
        """
        if self.planned is None:
            raise ValueError("a run that was refused has no Jobs")
        run = self.planned.run
        body = self.snapshot.run
        profile = ComputeProfileSpec.model_validate(self.snapshot.profiles[request.profile])
        owner = jobs.Owner(ref=run.ref, api_version=body["apiVersion"])
        manifest = jobs.manifest(request, owner, run.spec, profile, self.settings)
        session = None
        if self.lender:
            # Before the Job: a Job whose pods cannot get credentials would only hold GPUs.
            name = manifest["metadata"]["name"]
            session = await self.lender.mint(self.planned, request.job, name)
        try:
            if (service := jobs.service(request, owner, profile)) is not None:
                await self.world.create_service(body, service)
            job = await self.world.create_job(body, manifest)
            if self.lender and session:
                await self.lender.hand_over(run.ref.uid, job, session)
        except REFUSALS as error:
            raise NotCreatedError(f"{request.job}: {error}") from error

    async def delete(self, name: str) -> None:
        """Deletes a Job of the run and its pods.

        Raises:
            OperatorError: As for every request.
        """
        for body in self.snapshot.jobs:
            if body["metadata"]["name"] == name:
                await self.world.delete_job(body)

    async def write(self, status: RunStatus) -> None:
        """Writes the run's status, if it differs from what is there.

        Raises:
            OperatorError: As for every request.
        """
        body, content = self.snapshot.run, status.dump()
        if body.get("status") != content:
            await self.world.write_status(body, content)
            self.memory.wrote(body["metadata"]["uid"], self.world.monotonic())

    def event(self, event: Event) -> None:
        """Posts an Event about the run, in the background."""
        self.world.event(self.snapshot.run, event.type, event.reason, event.message)
