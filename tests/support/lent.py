"""Jobs to which credentials are lent, by an STS that a test plays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from autodidact_operator.cluster import labels
from autodidact_operator.cluster.resources import JOBS
from autodidact_operator.plan.naming import job_name
from autodidact_operator.plan.types import ObservedJob
from autodidact_operator.settings import Settings
from autodidact_store.errors import (
    StoreError,
)
from autodidact_store.sts import Session
from support import builders
from support.builders import pod
from support.control import Body, body

SETTINGS = Settings(
    store="s3://bucket",
    sts_enabled=True,
    sts_renew_seconds=1800,
    import_prefixes=("s3://inputs/",),
)


class FakeService:
    """An STS that lends, numbering what it lends, or does what it is told."""

    url = "http://sts"

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self.lasts_s = 3600.0
        self.asked: list[tuple[Body, int, str]] = []

    def mint(self, allowed: Body, seconds: int, name: str) -> Session:
        """Lends, or raises."""
        self.asked.append((allowed, seconds, name))
        if self.error:
            raise self.error
        return Session(
            access_key=f"key-{len(self.asked)}",
            secret_key="canary-secret",  # noqa: S106 - what must not be seen
            session_token="canary-token",  # noqa: S106 - as above
            expires_at=datetime.now(UTC) + timedelta(seconds=self.lasts_s),
        )


IMPORT = job_name(builders.ref(), "import", 1)


def at_work(job: str = "import", **fields: Any) -> ObservedJob:
    """Returns a Job of the run."""
    name = job_name(builders.ref(), job, 1)
    return replace(builders.job(job, pod("Running")), **{"name": name, **fields})


def job_body(job: ObservedJob) -> Body:
    """Returns the manifest of a Job of the run."""
    made = body(JOBS, job.name, spec={}, status={})
    made["metadata"] |= {
        "labels": {
            labels.RUN: "llama",
            labels.RUN_UID: builders.UID,
            labels.KIND: "selfrewardrun",
            labels.JOB: job.job,
            labels.ATTEMPT: "1",
        },
        "creationTimestamp": datetime.now(UTC).isoformat(),
        "ownerReferences": [{"uid": builders.UID, "controller": True}],
    }
    return made
