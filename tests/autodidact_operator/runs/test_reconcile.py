import asyncio

import pytest

from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.resources import JOBS, RunKey
from autodidact_operator.plan.types import ObservedJob
from autodidact_operator.runs.reconcile import build
from autodidact_operator.runs.world import World
from autodidact_store.errors import (
    AccessDeniedError,
    ConfigurationError,
    StoreError,
    StoreUnavailableError,
)
from support.control import FakeKube
from support.lent import SETTINGS, FakeService, at_work, job_body


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AccessDeniedError("http://sts: not you"), "StoreAccessDenied"),
        (ConfigurationError("http://sts is no STS"), "StoreConfiguration"),
        (StoreUnavailableError("http://sts is silent"), "StoreUnavailable"),
    ],
)
@pytest.mark.parametrize("job", [None, at_work()], ids=["first", "renewal"])
def test_a_run_says_why_it_is_not_lent_to(
    service: FakeService,
    lending_world: World,
    cache: Cache,
    kube: FakeKube,
    error: StoreError,
    reason: str,
    job: ObservedJob | None,
) -> None:
    """No Job is created, the status has the STS's words, and the next look is in seconds."""
    service.error = error
    if job:
        cache.apply(JOBS, "ADDED", job_body(job))
    reconcile = build(SETTINGS, service, lending_world)  # type: ignore[arg-type]
    wait = asyncio.run(reconcile(RunKey("SelfRewardRun", "research", "llama")))
    verbs = [verb for verb, _, _ in kube.calls]
    (status,) = (arguments[3] for verb, arguments, _ in kube.calls if verb == "patch_status")
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["reason"], ready["status"]) == (reason, "False")
    assert str(error) in ready["message"]
    assert "create" not in verbs
    assert len(service.asked) == 1
    assert wait is not None
    assert wait >= 1
