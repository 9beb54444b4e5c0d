"""Lends every Job its own store credentials: the STS issues them, a Secret holds them.

What a Job may do follows from its run's graph, from what is published, and from the Job's name,
which cannot change. It never follows from labels or annotations: whoever may edit Jobs could extend
those. A Job may:

- read and list its namespace's part of the bucket, and the locations that its stages import from
  without a Secret, since data in an S3 that stages can read is not copied;
- write the artifacts of its own stages, and write and delete the checkpoints of those that train.
  If a stage reads what an earlier stage of the same Job makes, its key is not known in advance. Any
  artifact of its kind may then be written in the namespace. Once the earlier stage has published,
  the next renewal allows that one artifact only;
- delete nothing else: what is published stays, and so do the bytes that a killed attempt left.

The Secret belongs to the Job and is deleted with it. It needs the Job's UID, so it is written right
after the Job. Until then the pods wait, as they do for any missing Secret; that is reported only
after some seconds. An operator that was restarted does not know which credentials it lent, and it
never reads a Secret. So at its first look at a run it lends new ones to each Job at work. That
repairs what a crash left undone, and no time of expiry has to be kept anywhere. A Secret that was
deleted is written again at the next renewal, or within seconds if a pod waits for it.

While the STS does not answer, Jobs at work go on with the credentials they have. The run's status
reports it only when those are about to end, or when a Job needs its first ones.
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autodidact_contract.artifacts import Artifact, checkpoint_prefix, prefix
from autodidact_contract.stages.data import Import
from autodidact_contract.stages.training import Training
from autodidact_operator.cluster.resources import Body
from autodidact_operator.plan.naming import job_name
from autodidact_operator.plan.progression import stage_key_of
from autodidact_operator.plan.types import Graph, ObservedJob, Run, Stage
from autodidact_operator.runs import jobs
from autodidact_operator.runs.observe import HELD_UP
from autodidact_operator.runs.world import World
from autodidact_operator.settings import Settings, variable
from autodidact_store.errors import ConfigurationError, StoreError
from autodidact_store.sts import MAX_POLICY, Session, TokenService, encoded

log = logging.getLogger(__name__)

HELD_UP_S = 15.0
"""Age of credentials at which a Job whose pods do not start gets new ones: they may be missing."""

RETRY_S = 30.0
"""Seconds after which a renewal that failed is tried again."""

LAST_CALL_S = 300.0
"""Seconds before credentials end, from which on the run's status reports a failed renewal."""

_ARN = "arn:aws:s3:::"
_ANY_KEY = "?" * 32
"""Matches the key of any artifact and nothing longer: a kind's name may begin like another's."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run with its graph, and with what is published of it, by stage name."""

    run: Run
    graph: Graph
    artifacts: Mapping[str, Artifact]


@dataclass(frozen=True, kw_only=True)
class _Lent:
    """The times of a Job's credentials, in monotonic seconds.

    Attributes:
        at: When they were lent.
        due: When to lend new ones.
        until: When they end.
    """

    at: float
    due: float
    until: float


class Lender:
    """Lends credentials to Jobs, and remembers when.

    Args:
        service: The store's STS.
        settings: The operator's settings.
        world: Where the Secrets go, and the clock.
    """

    def __init__(self, service: TokenService, settings: Settings, world: World) -> None:
        self._service = service
        self._settings = settings
        self._world = world
        self._bucket = settings.store.removeprefix("s3://").rstrip("/")
        self._lent: dict[str, dict[str, _Lent]] = {}  # By the run's UID, the Job's name.

    async def mint(self, planned: Planned, job: str, name: str) -> Session:
        """Returns new credentials for a Job; the server's log has them under the Job's name.

        Args:
            planned: The run.
            job: Name of the job in its graph.
            name: The Job's own.

        Raises:
            StoreError: The STS lends none, or none that last until the renewal.
        """
        namespace = planned.run.ref.namespace
        allowed = policy(self._bucket, namespace, planned.graph, job, planned.artifacts)
        seconds = self._settings.sts_duration_seconds
        session = await asyncio.to_thread(self._service.mint, allowed, seconds, name)
        left = (session.expires_at - self._world.now()).total_seconds()
        if left <= self._settings.sts_renew_seconds:
            raise ConfigurationError(
                f"{self._service.url} lends for {left:.0f} s by the operator's clock, which is "
                f"not beyond the renewal after {self._settings.sts_renew_seconds} s; compare the "
                f"clocks, or lower {variable('sts_renew_seconds')}"
            )
        return session

    async def hand_over(self, run_uid: str, job: Body, session: Session) -> None:
        """Writes credentials into the Secret of a Job.

        Raises:
            OperatorError: It could not be written.
        """
        name, expires_at = job["metadata"]["name"], session.expires_at.isoformat()
        await self._world.apply_secret(jobs.secret(job, session.files(), expires_at))
        now = self._world.monotonic()
        self._lent.setdefault(run_uid, {})[name] = _Lent(
            at=now,
            due=now + self._settings.sts_renew_seconds,
            until=now + (session.expires_at - self._world.now()).total_seconds(),
        )
        log.info("lent job=%s until=%s", name, expires_at)

    async def renew(
        self, planned: Planned, bodies: Iterable[Body], seen: Iterable[ObservedJob]
    ) -> None:
        """Lends new credentials to the Jobs at work that need some, and forgets the run's other Jobs.

        Args:
            planned: The run.
            bodies: Its Jobs.
            seen: The same, as the planner sees them.

        Raises:
            StoreError: The STS lends none, and a Job cannot go on without.
            OperatorError: A Secret could not be written.
        """
        uid, busy = planned.run.ref.uid, at_work(planned, seen)
        known = self._lent.get(uid, {})
        self._lent[uid] = {job.name: known[job.name] for job in busy if job.name in known}
        by_name = {body["metadata"]["name"]: body for body in bodies}
        for job in busy:
            if self._wait(uid, job) > 0:
                continue
            try:
                session = await self.mint(planned, job.job, job.name)
            except StoreError as error:
                if not self._puts_off(uid, job):
                    raise
                log.warning("renewal put off job=%s error=%s", job.name, error)
            else:
                await self.hand_over(uid, by_name[job.name], session)

    def _puts_off(self, run_uid: str, job: ObservedJob) -> bool:
        """Returns whether a failed renewal can wait; it is then tried again after ``RETRY_S``."""
        lent, now = self._lent[run_uid].get(job.name), self._world.monotonic()
        if lent is None or _held_up(job) or lent.until - now <= LAST_CALL_S:
            return False
        self._lent[run_uid][job.name] = replace(lent, due=now + RETRY_S)
        return True

    def wait(self, planned: Planned, seen: Iterable[ObservedJob]) -> float | None:
        """Returns in how many seconds a Job of the run needs new credentials; None if none is at work."""
        busy = at_work(planned, seen)
        return min((self._wait(planned.run.ref.uid, job) for job in busy), default=None)

    def _wait(self, run_uid: str, job: ObservedJob) -> float:
        lent = self._lent.get(run_uid, {}).get(job.name)
        if lent is None:
            return 0.0
        needed = lent.at + HELD_UP_S if _held_up(job) else math.inf
        return min(lent.due, needed) - self._world.monotonic()

    def keep(self, run_uids: Iterable[str]) -> None:
        """Forgets all other runs."""
        wanted = set(run_uids)
        self._lent = {uid: jobs for uid, jobs in self._lent.items() if uid in wanted}


def _held_up(job: ObservedJob) -> bool:
    """Returns whether a pod does not start, perhaps because its Secret is missing."""
    return any(pod.waiting == HELD_UP for pod in job.pods)


def at_work(planned: Planned, seen: Iterable[ObservedJob]) -> list[ObservedJob]:
    """Returns the run's Jobs whose pods need the store, including those that wait in a queue.

    A Job whose labels name another job of the graph than its own name does is left out.
    """
    ref = planned.run.ref
    return [
        job
        for job in seen
        if not (job.ended or job.stopping)
        and not (job.pods and all(pod.phase in ("Succeeded", "Failed") for pod in job.pods))
        and job.name == job_name(ref, job.job, job.attempt)
        and stages_of(planned.graph, job.job)
    ]


def policy(
    bucket: str, namespace: str, graph: Graph, job: str, artifacts: Mapping[str, Artifact]
) -> dict[str, Any]:
    """Returns what the credentials of a Job allow, as an IAM policy.

    An STS takes only short policies. Where one that names every place is too long, any artifact of
    the kinds that the Job makes may be written.

    Args:
        bucket: The store's.
        namespace: The run's.
        graph: The run's.
        job: Name of the job in the graph.
        artifacts: What is published, by stage name.
    """
    stages = stages_of(graph, job)
    made = [(stage, _key(stage, artifacts)) for stage in stages]
    narrow = _document(bucket, namespace, _imported(graph, stages), made)
    if len(encoded(narrow)) <= MAX_POLICY:
        return narrow
    made = [(stage, _ANY_KEY) for stage in stages]
    return _document(bucket, namespace, _imported(graph, stages), made)


def _document(
    bucket: str, namespace: str, imported: Iterable[str], made: Iterable[tuple[Stage, str]]
) -> dict[str, Any]:
    listed = {bucket: [f"{namespace}/*"]}
    read = [f"{bucket}/{namespace}/*"]
    for uri in imported:
        place = uri.removeprefix("s3://")
        # Whatever begins with this location may be read too: administrators allow prefixes.
        read.append(f"{place}*" if "/" in place else f"{place}/*")
        other, _, key = place.partition("/")
        listed.setdefault(other, []).append(key)
    places = [(stage.config, stage.config.stage, key) for stage, key in made]
    published = [f"{bucket}/{prefix(namespace, kind, key)}*" for _, kind, key in places]
    saved = [
        f"{bucket}/{checkpoint_prefix(namespace, kind, key)}*"
        for config, kind, key in places
        if isinstance(config, Training)
    ]
    statements = [
        _allow(["GetObject"], read),
        *(
            _allow(["ListBucket"], [name], Condition={"StringLike": {"s3:prefix": _once(keys)}})
            for name, keys in listed.items()
        ),
        _allow(["PutObject", "AbortMultipartUpload"], published + saved),
        *([_allow(["DeleteObject"], saved)] if saved else ()),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def stages_of(graph: Graph, job: str) -> list[Stage]:
    """Returns the stages of a job of the graph; a Job that the operator did not create may have none."""
    return [stage for stage in graph.stages if stage.job == job]


def _key(stage: Stage, artifacts: Mapping[str, Artifact]) -> str:
    known = stage.partial or all(source in artifacts for source in stage.inputs.values())
    return stage_key_of(stage, artifacts) if known else _ANY_KEY


def _imported(graph: Graph, stages: Iterable[Stage]) -> list[str]:
    """Returns the S3 locations that stages, or those they read, import with the Job's credentials."""
    near = [near for s in stages for near in (s, *(graph[name] for name in s.inputs.values()))]
    return _once(
        stage.config.uri
        for stage in near
        if isinstance(stage.config, Import)
        and stage.config.uri.startswith("s3://")
        and not stage.secret
    )


def _allow(actions: Iterable[str], places: Iterable[str], **more: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": [f"s3:{action}" for action in actions],
        "Resource": [f"{_ARN}{place}" for place in _once(places)],
        **more,
    }


def _once(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
