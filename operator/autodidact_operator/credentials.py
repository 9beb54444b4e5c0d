"""Credentials of one Job each: lent by the store's STS, kept in a Secret, renewed in time.

What a Job may do is worked out from its run's graph and from what is published, never from the Job
object or its annotations, which whoever may edit Jobs could widen:

- read and list its namespace's part of the bucket, and the run's own sources that need no Secret;
- write the artifacts of its own stages, and write and delete the checkpoints of those that train.
  The key of a stage that reads what an earlier stage of the same Job makes is not known before, so
  any artifact of that kind may be written in the namespace; once the earlier stage has published,
  the next renewal names the one;
- delete nothing else: what is published stays, and so do bytes that a killed attempt left beside.

The Secret belongs to the Job and goes with it. It is written right after the Job, whose UID it
needs; until it is there, pods wait as for any missing Secret, which is told only after some
seconds. An operator that was ended between the two, or later, remembers no Secret of its own, and
never reads one: at its first look at a run it lends anew to each of its Jobs at work. That is what
repairs and renews after a restart, so that no time of expiry has to be kept anywhere.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autodidact_contract.artifacts import Artifact, checkpoint_prefix, prefix
from autodidact_contract.resources import Source
from autodidact_contract.stages import Training
from autodidact_operator import jobs, labels
from autodidact_operator.plan.progression import stage_key_of
from autodidact_operator.plan.types import Graph, ObservedJob, Run, Stage
from autodidact_operator.settings import Settings
from autodidact_operator.specs import sources
from autodidact_operator.world import World
from autodidact_store.sts import Session, TokenService

Body = dict[str, Any]
log = logging.getLogger(__name__)

_ARN = "arn:aws:s3:::"
_ANY_KEY = "?" * 32
"""Matches the key of any artifact, and no more: kinds may begin like other kinds."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run with its graph, and what of it is published, by stage name."""

    run: Run
    graph: Graph
    artifacts: Mapping[str, Artifact]


class Lender:
    """Lends to Jobs, and remembers until when that will do.

    Args:
        service: The store's STS.
        settings: The operator's settings.
        world: Where the Secrets go, and the clock.
    """

    def __init__(self, service: TokenService, settings: Settings, world: World[Any]) -> None:
        self._service = service
        self._settings = settings
        self._world = world
        self._bucket = settings.store.removeprefix("s3://").rstrip("/")
        self._renew_at: dict[str, dict[str, float]] = {}  # By UID of the run and of the Job.

    async def mint(self, planned: Planned, job: str, name: str) -> Session:
        """Returns what a Job may use; the server's log calls it by the Job's name.

        Args:
            planned: The run.
            job: Name of the job in its graph.
            name: The Job's own.

        Raises:
            StoreError: The STS does not lend, and why.
        """
        stages = stages_of(planned.graph, job)
        own = [one for one in sources(planned.run.spec) if isinstance(one, Source)]
        namespace = planned.run.ref.namespace
        allowed = policy(self._bucket, namespace, stages, planned.artifacts, own)
        seconds = self._settings.sts_duration_seconds
        return await asyncio.to_thread(self._service.mint, allowed, seconds, name)

    async def hand_over(self, run_uid: str, job: Body, session: Session) -> None:
        """Puts credentials into the Secret of a Job.

        Raises:
            OperatorError: It could not be written.
        """
        metadata = job["metadata"]
        expires_at = session.expires_at.isoformat()
        await self._world.apply_secret(jobs.secret(job, session.files(), expires_at))
        renewals = self._renew_at.setdefault(run_uid, {})
        renewals[metadata["uid"]] = self._world.monotonic() + self._settings.sts_renew_seconds
        log.info("lent job=%s until=%s", metadata["name"], expires_at)

    async def renew(
        self, planned: Planned, bodies: Iterable[Body], seen: Iterable[ObservedJob]
    ) -> None:
        """Lends anew to the Jobs at work that need it, and forgets the run's other Jobs.

        Args:
            planned: The run.
            bodies: Its Jobs.
            seen: The same, as the planner sees them.

        Raises:
            StoreError: The STS does not lend, and why.
            OperatorError: A Secret could not be written.
        """
        uid, now = planned.run.ref.uid, self._world.monotonic()
        names = at_work(seen)
        busy = {b["metadata"]["uid"]: b for b in bodies if b["metadata"]["name"] in names}
        known = self._renew_at.get(uid, {})
        self._renew_at[uid] = {job: at for job, at in known.items() if job in busy}
        for job, body in busy.items():
            name = body["metadata"]["labels"][labels.JOB]
            if known.get(job, now) <= now and stages_of(planned.graph, name):
                session = await self.mint(planned, name, body["metadata"]["name"])
                await self.hand_over(uid, body, session)

    def wait(self, run_uid: str) -> float | None:
        """Returns in how many seconds a Job of a run is due, None where there is none."""
        now = self._world.monotonic()
        return min((at - now for at in self._renew_at.get(run_uid, {}).values()), default=None)

    def keep(self, run_uids: Iterable[str]) -> None:
        """Forgets all other runs."""
        wanted = set(run_uids)
        self._renew_at = {uid: jobs for uid, jobs in self._renew_at.items() if uid in wanted}


def at_work(seen: Iterable[ObservedJob]) -> set[str]:
    """Returns the names of the Jobs whose pods need the store, those that wait in a queue too."""
    return {
        job.name
        for job in seen
        if not (job.ended or job.stopping)
        and not (job.pods and all(pod.phase in ("Succeeded", "Failed") for pod in job.pods))
    }


def policy(
    bucket: str,
    namespace: str,
    stages: Iterable[Stage],
    artifacts: Mapping[str, Artifact],
    own: Iterable[Source],
) -> dict[str, Any]:
    """Returns what the credentials of a Job allow, as an IAM policy.

    Args:
        bucket: The store's.
        namespace: The run's.
        stages: Those of the Job.
        artifacts: What is published, by stage name.
        own: Where the run imports from.
    """
    opened = [source.uri.removeprefix("s3://").partition("/") for source in _without_secret(own)]
    listed = {bucket: [f"{namespace}/*"]}
    for other, _, key in opened:
        listed.setdefault(other, []).append(key)
    read = [f"{bucket}/{namespace}/*"]
    read += [f"{other}/{key}" for other, _, key in opened if not key.endswith("/")]
    read += [f"{other}/" + f"{key.rstrip('/')}/*".lstrip("/") for other, _, key in opened]
    places = [(stage.config, stage.config.stage, _key(stage, artifacts)) for stage in stages]
    made = [f"{bucket}/{prefix(namespace, kind, key)}*" for _, kind, key in places]
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
        _allow(["PutObject", "AbortMultipartUpload"], made + saved),
        *([_allow(["DeleteObject"], saved)] if saved else ()),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def stages_of(graph: Graph, job: str) -> list[Stage]:
    """Returns the stages of a job of the graph; a Job that somebody else made may have none."""
    return [stage for stage in graph.stages if stage.job == job]


def _key(stage: Stage, artifacts: Mapping[str, Artifact]) -> str:
    known = stage.partial or all(source in artifacts for source in stage.inputs.values())
    return stage_key_of(stage, artifacts) if known else _ANY_KEY


def _without_secret(own: Iterable[Source]) -> list[Source]:
    """Returns the sources that are read with the Job's own credentials, from wherever they lie."""
    return [s for s in own if s.uri.startswith("s3://") and not s.secret_name]


def _allow(actions: Iterable[str], places: Iterable[str], **more: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": [f"s3:{action}" for action in actions],
        "Resource": [f"{_ARN}{place}" for place in _once(places)],
        **more,
    }


def _once(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
