import asyncio
import json

from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.resources import JOBS, RunKey
from autodidact_operator.errors import ConflictError
from autodidact_operator.runs.reconcile import build
from autodidact_operator.runs.world import World
from support.control import FakeKube
from support.lent import IMPORT, SETTINGS, FakeService, at_work, job_body


def test_a_foreign_secret_in_the_way_is_told(
    service: FakeService, lending_world: World, cache: Cache, kube: FakeKube
) -> None:
    """A Secret of the Job's name that somebody else wrote is left alone, and named."""
    kube.answers["apply"] = ConflictError(f"patch secrets/{IMPORT}: conflict with kubectl")
    cache.apply(JOBS, "ADDED", job_body(at_work()))
    asyncio.run(
        build(SETTINGS, service, lending_world)(RunKey("SelfRewardRun", "research", "llama"))
    )  # type: ignore[arg-type]
    (status,) = (arguments[3] for verb, arguments, _ in kube.calls if verb == "patch_status")
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "CredentialsNotWritten"
    assert IMPORT in ready["message"]
    assert "canary" not in json.dumps(status)
