"""Leader election over a Lease: of several replicas one reconciles, and the others stand by.

The clocks of two machines are never compared: a lease counts as expired when this process has not
seen it change for its duration. Writes carry the resourceVersion, so of two candidates one wins.
Two leaders at the same time would do no harm: they would create the same Jobs with the same names.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from autodidact_operator.cluster.kube import Kube
from autodidact_operator.cluster.resources import LEASES, Body
from autodidact_operator.errors import (
    ConflictError,
    LeaseLostError,
    NotFoundError,
    TransientError,
)

DURATION_S, RENEW_DEADLINE_S, RETRY_S = 15.0, 10.0, 2.0
"""As in every Go controller: a lease lasts 15 s, a leader gives up after 10 s, all try every 2 s."""

JITTER = 0.2
RELEASE_TIMEOUT_S = 2.0
ADDRESS = "autodidact.dev/address"
"""Annotation with the holder's HTTP address, to which other replicas pass progress reports on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a Lease says.

    Attributes:
        holder: Who holds it; empty if nobody.
        duration_s: How long it lasts without being renewed.
        acquired: When the holder got it.
        renewed: When the holder last wrote it.
        transitions: How often it changed hands.
        address: Where the holder serves HTTP.
        version: resourceVersion, empty for a lease that does not exist yet.
    """

    holder: str
    duration_s: float = DURATION_S
    acquired: datetime | None = None
    renewed: datetime | None = None
    transitions: int = 0
    address: str = ""
    version: str = ""


class LeaseStore(Protocol):
    """Where the lease is kept."""

    async def read(self) -> Record | None:
        """Returns the lease, or None if there is none."""
        ...

    async def write(self, record: Record) -> Record:
        """Create the lease, or replace the version that the record names; returns it as stored.

        Raises:
            ConflictError: If another candidate was faster.
        """
        ...


class KubeLease:
    """A Lease object of the cluster."""

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name

    async def read(self) -> Record | None:
        """Returns the lease, or None if there is none.

        Raises:
            OperatorError: As for every request.
        """
        try:
            return _record(await self._kube.get(LEASES, self._namespace, self._name))
        except NotFoundError:
            return None

    async def write(self, record: Record) -> Record:
        """Create the lease, or replace the version that the record names; returns it as stored.

        Raises:
            ConflictError: If another candidate was faster.
            OperatorError: As for every request.
        """
        body = _manifest(record, self._namespace, self._name)
        if not record.version:
            return _record(await self._kube.create(LEASES, self._namespace, body))
        return _record(await self._kube.replace(LEASES, self._namespace, self._name, body))


class Elector:
    """One candidate.

    Args:
        store: Where the lease is kept.
        identity: Name of this candidate, unique among all that ever run.
        address: Where it serves HTTP.
        clock: Monotonic seconds.
        sleep: Waits for some seconds of that clock.
        noise: Uniform numbers in [0, 1), so that candidates do not all try at the same moment.
    """

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        *,
        address: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        noise: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._identity = identity
        self._address = address
        self._clock = clock
        self._sleep = sleep
        self._noise = noise
        self._observed: Record | None = None
        self._observed_at = 0.0
        self.leading = False

    @property
    def leader_address(self) -> str:
        """Where the holder serves HTTP, as far as this process knows; may be empty."""
        return self._observed.address if self._observed and self._observed.holder else ""

    async def acquire(self) -> None:
        """Returns when this candidate holds the lease.

        Raises:
            ForbiddenError: If it may not read or write the lease.
        """
        while not await self.attempt():
            await self._pause()
        self.leading = True
        log.info("lease acquired identity=%s", self._identity)

    async def hold(self) -> None:
        """Renew the lease for ever.

        Raises:
            LeaseLostError: If that did not succeed in time, or somebody else took it.
        """
        renewed = self._clock()
        while True:
            await self._pause()
            try:
                async with asyncio.timeout(RENEW_DEADLINE_S):
                    succeeded = await self.attempt()
            except TimeoutError:
                succeeded = False
            if succeeded:
                renewed = self._observed_at
            elif self._is_taken() or self._clock() - renewed >= RENEW_DEADLINE_S:
                self.leading = False
                raise LeaseLostError(f"{self._identity} could not renew the lease")

    async def release(self) -> None:
        """Give the lease back, so that another candidate need not wait until it expires."""
        if not self.leading or self._observed is None:
            return
        self.leading = False
        free = replace(self._observed, holder="", address="", duration_s=1.0)
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._store.write(free)
            log.info("lease released identity=%s", self._identity)
        except (TransientError, NotFoundError, TimeoutError) as error:
            log.warning("lease not released error=%s", error)

    async def attempt(self) -> bool:
        """Try once to get or renew the lease; returns whether this candidate holds it."""
        began = self._clock()
        try:
            current = await self._store.read()
            self._observe(current)
            if current is not None and not self._may_take(current):
                return False
            self._observe(await self._store.write(self._claim(current)), began)
        except ConflictError:
            return False
        except TransientError as error:
            log.warning("lease not reached error=%s", error)
            return False
        return True

    def _claim(self, current: Record | None) -> Record:
        """Returns the lease as this candidate would hold it."""
        now = datetime.now(UTC)
        mine = current is not None and current.holder == self._identity
        earlier = current or Record(holder="")
        return Record(
            holder=self._identity,
            acquired=earlier.acquired if mine else now,
            renewed=now,
            transitions=earlier.transitions + (0 if mine or current is None else 1),
            address=self._address,
            version=earlier.version,
        )

    def _may_take(self, current: Record) -> bool:
        if current.holder in ("", self._identity):
            return True
        return self._clock() >= self._observed_at + current.duration_s

    def _is_taken(self) -> bool:
        return self._observed is not None and self._observed.holder != self._identity

    def _observe(self, record: Record | None, at: float | None = None) -> None:
        """Note when the lease was first seen in this state."""
        if record != self._observed:
            self._observed = record
            self._observed_at = self._clock() if at is None else at

    async def _pause(self) -> None:
        await self._sleep(RETRY_S * (1.0 + JITTER * self._noise()))


class Alone:
    """The candidate of an operator without leader election: it leads from the start."""

    leading = False
    leader_address = ""

    async def acquire(self) -> None:
        """Returns at once."""
        self.leading = True

    async def hold(self) -> None:
        """Holds for ever."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """There is nothing to give back."""
        self.leading = False


def _record(body: Body) -> Record:
    metadata, spec = body["metadata"], body.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or "",
        duration_s=float(spec.get("leaseDurationSeconds") or DURATION_S),
        acquired=_time(spec.get("acquireTime")),
        renewed=_time(spec.get("renewTime")),
        transitions=int(spec.get("leaseTransitions") or 0),
        address=(metadata.get("annotations") or {}).get(ADDRESS, ""),
        version=metadata["resourceVersion"],
    )


def _manifest(record: Record, namespace: str, name: str) -> Body:
    spec: Body = {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": int(record.duration_s),
        "leaseTransitions": record.transitions,
    }
    if record.acquired:
        spec["acquireTime"] = _micro_time(record.acquired)
    if record.renewed:
        spec["renewTime"] = _micro_time(record.renewed)
    metadata: Body = {"name": name, "namespace": namespace}
    metadata["annotations"] = {ADDRESS: record.address} if record.address else {}
    if record.version:
        metadata["resourceVersion"] = record.version
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": metadata,
        "spec": spec,
    }


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
