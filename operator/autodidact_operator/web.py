"""The operator's HTTP server: health, metrics, and the workers' progress reports.

GET  /healthz       every watch is alive and no run waits too long
GET  /readyz        the cache is filled
GET  /metrics       Prometheus
POST /v1/progress   a worker's report, with the token of its pod
"""

import hashlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp import web
from pydantic import ValidationError

from autodidact_contract.task import Progress
from autodidact_operator.cluster import labels
from autodidact_operator.cluster.kube import Identity
from autodidact_operator.cluster.resources import Body
from autodidact_operator.errors import OperatorError
from autodidact_operator.telemetry import Telemetry

MAX_BODY_BYTES = 64 * 1024
MAX_TOKEN_BYTES = 16 * 1024
REVIEW_LIFETIME_S = 60.0
"""Seconds for which a token's review is remembered.

A pod that was deleted may still report for so long. Its reports go to the run that it belonged to.
"""

MAX_QUEUE_AGE_S = 60.0
_REMEMBERED = 8192
_REVIEWS_PER_S, _REVIEWS_BURST = 50.0, 200.0  # Reviews of unknown tokens, to spare the API server.
_POSTS_PER_S, _POSTS_BURST = 1.0, 10.0  # Of one pod; a worker posts every few seconds.
_FORWARDED = "X-Autodidact-Forwarded"
_FORWARD_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class Reviewer(Protocol):
    """What can say whom a token belongs to: `Kube`, or a fake in a test."""

    async def token_review(self, token: str, audiences: list[str]) -> Identity | None:
        """Returns whom a token belongs to, or None if it is not valid for the audiences."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reporter:
    """A pod that may report.

    Attributes:
        run_uid: The run it works for.
        shard: Its completion index.
        pod_uid: Its UID.
    """

    run_uid: str
    shard: int
    pod_uid: str


class Bucket:
    """A token bucket: so many per second on average, so many at once."""

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._level = burst
        self._at = now

    def take(self, now: float) -> float:
        """Take one; returns 0, or after how many seconds there will be one."""
        self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
        self._at = now
        if self._level >= 1.0:
            self._level -= 1.0
            return 0.0
        return (1.0 - self._level) / self._per_second


class Doorman:
    """Decides who may report.

    Args:
        reviewer: Verifies tokens.
        audience: The audience that a token must have.
        find_pod: Returns the cached Pod of a namespace and name, or None.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reviewer: Reviewer,
        audience: str,
        find_pod: Callable[[str, str], Body | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviewer = reviewer
        self._audience = audience
        self._find_pod = find_pod
        self._clock = clock
        self._reviews: OrderedDict[bytes, tuple[float, Identity | None]] = OrderedDict()
        self._budget = Bucket(_REVIEWS_PER_S, _REVIEWS_BURST, clock())
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def admit(self, header: str) -> Reporter:
        """Returns who reports.

        Args:
            header: The request's `Authorization`.

        Raises:
            web.HTTPUnauthorized: If there is no valid token.
            web.HTTPForbidden: If the token is not that of a run's pod.
            web.HTTPTooManyRequests: If the pod reports too often, or too many unknown tokens come.
            OperatorError: If the token cannot be verified now.
        """
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_BYTES:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        identity = await self._identity(token.strip())
        if identity is None:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        reporter = self._reporter(identity)
        self._limit(reporter.pod_uid)
        return reporter

    async def _identity(self, token: str) -> Identity | None:
        """Returns whom a token belongs to; the answer is remembered, the token never."""
        name = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        while self._reviews and next(iter(self._reviews.values()))[0] <= now:
            self._reviews.popitem(last=False)
        if name in self._reviews:
            return self._reviews[name][1]
        _raise_if_limited(self._budget.take(now))
        identity = await self._reviewer.token_review(token, [self._audience])
        self._reviews[name] = (now + REVIEW_LIFETIME_S, identity)
        if len(self._reviews) > _REMEMBERED:
            self._reviews.popitem(last=False)
        return identity

    def _reporter(self, identity: Identity) -> Reporter:
        """Returns what the cache knows of the pod.

        Raises:
            web.HTTPForbidden: If it is not a pod of a run.
        """
        pod = self._find_pod(identity.namespace, identity.pod_name) if identity.pod_name else None
        metadata = pod["metadata"] if pod else {}
        own = metadata.get("labels") or {}
        run_uid = own.get(labels.RUN_UID)
        if not run_uid or metadata["uid"] != identity.pod_uid:
            raise web.HTTPForbidden(text="not a pod of a run that this operator knows")
        shard = own.get(labels.COMPLETION_INDEX, "0")
        return Reporter(
            run_uid=run_uid,
            shard=int(shard) if shard.isdecimal() else 0,
            pod_uid=identity.pod_uid,
        )

    def _limit(self, pod_uid: str) -> None:
        now = self._clock()
        bucket = self._buckets.get(pod_uid)
        if bucket is None:
            bucket = self._buckets[pod_uid] = Bucket(_POSTS_PER_S, _POSTS_BURST, now)
        self._buckets.move_to_end(pod_uid)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        _raise_if_limited(bucket.take(now))


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What the server asks the rest of the process.

    Attributes:
        ill: Returns what is wrong, or an empty text.
        is_ready: Whether the cache is filled.
        measure: Brings the gauges up to date.
        is_leading: Whether this process reconciles.
        leader: Returns the base URL of the process that does, or an empty text.
    """

    ill: Callable[[], str]
    is_ready: Callable[[], bool]
    measure: Callable[[], None]
    is_leading: Callable[[], bool]
    leader: Callable[[], str]


class Server:
    """The routes of the operator's HTTP server.

    Args:
        probes: What they ask.
        telemetry: Metrics.
        doorman: Decides who may report.
        report: Takes in a report; returns False if there is no room for it.
    """

    def __init__(
        self,
        *,
        probes: Probes,
        telemetry: Telemetry,
        doorman: Doorman,
        report: Callable[[Reporter, Progress], bool],
    ) -> None:
        self._probes = probes
        self._telemetry = telemetry
        self._doorman = doorman
        self._report = report
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        """Returns the aiohttp application."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_post("/v1/progress", self._progress)
        application.on_cleanup.append(self._close)
        return application

    async def _healthz(self, _request: web.Request) -> web.Response:
        ill = self._probes.ill()
        return web.Response(status=500 if ill else 200, text=f"{ill or 'ok'}\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready = self._probes.is_ready()
        return web.Response(status=200 if ready else 503, text="ok\n" if ready else "filling\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        self._probes.measure()
        return web.Response(
            body=self._telemetry.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _progress(self, request: web.Request) -> web.Response:
        """Take in a report; whatever is wrong with it becomes an HTTP status."""
        try:
            response = await self._answer(request)
        except web.HTTPException as refusal:
            response = web.Response(
                status=refusal.status,
                text=f"{refusal.text}\n",
                headers={
                    name: refusal.headers[name]
                    for name in ("Retry-After", "WWW-Authenticate")
                    if name in refusal.headers
                },
            )
        except OperatorError as error:
            log.warning("progress not verified error=%s", error)
            response = web.Response(status=503, headers={"Retry-After": "5"})
        self._telemetry.progress_posts.labels(str(response.status)).inc()
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        """Returns the answer to a report.

        Raises:
            web.HTTPException: If it is refused.
            OperatorError: If the token cannot be verified now.
        """
        if not self._probes.is_leading():
            return await self._forward(request)
        reporter = await self._doorman.admit(request.headers.get("Authorization", ""))
        try:
            progress = Progress.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPBadRequest(text=str(error.errors()[0]["msg"])) from error
        if not self._report(reporter, progress):
            raise web.HTTPTooManyRequests(headers={"Retry-After": "60"})
        return web.Response(status=204)

    async def _forward(self, request: web.Request) -> web.Response:
        """Pass a report on to the leader, since the Service sends reports to any replica.

        Raises:
            web.HTTPServiceUnavailable: If there is no leader, or it does not answer.
        """
        leader = self._probes.leader()
        if not leader or _FORWARDED in request.headers:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"})
        headers = {"Authorization": request.headers.get("Authorization", ""), _FORWARDED: "1"}
        body = await request.read()
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_FORWARD_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.post(
                f"{leader}/v1/progress", data=body, headers=headers
            ) as answer:
                return web.Response(status=answer.status, body=await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"}) from error

    async def _close(self, _application: web.Application) -> None:
        if self._session is not None:
            await self._session.close()


async def serve(application: web.Application, port: int) -> web.AppRunner:
    """Start to serve on all addresses; returns the runner, whose `cleanup` ends it."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


def _raise_if_limited(wait_s: float) -> None:
    """Refuse a request that came too early.

    Raises:
        web.HTTPTooManyRequests: If there is something to wait for.
    """
    if wait_s > 0:
        raise web.HTTPTooManyRequests(headers={"Retry-After": str(math.ceil(wait_s))})
