"""What Jobs are lent, when, and what a run says where they are not."""

import asyncio
import base64
import json
import logging
from datetime import datetime
from typing import Any

import pytest

from autodidact_contract.api.run import RunSpec
from autodidact_operator.cluster import labels
from autodidact_operator.cluster.resources import JOBS
from autodidact_operator.plan.types import ObservedJob
from autodidact_operator.runs import jobs
from autodidact_operator.runs.lending import (
    HELD_UP_S,
    LAST_CALL_S,
    RETRY_S,
    Lender,
    Planned,
    policy,
)
from autodidact_operator.runs.world import World
from autodidact_store.errors import (
    ConfigurationError,
    StoreUnavailableError,
)
from autodidact_store.sts import MAX_POLICY, encoded
from support import builders
from support.builders import pod, reft, spec
from support.control import Body, Clock, FakeKube, body
from support.lent import IMPORT, SETTINGS, FakeService, at_work


@pytest.fixture
def lender(service: FakeService, lending_world: World) -> Lender:
    """Lends from the fake service into the fake API server."""
    return Lender(service, SETTINGS, lending_world)  # type: ignore[arg-type]


PLANNED = Planned(run=builders.run(), graph=builders.graph(), artifacts={})


def bodies(*seen: ObservedJob) -> list[Body]:
    """Returns Jobs as the API server shows them."""
    return [{"metadata": {**body(JOBS, job.name)["metadata"]}} for job in seen]


def renew(lender: Lender, *seen: ObservedJob) -> None:
    """Lends to those that need it."""
    asyncio.run(lender.renew(PLANNED, bodies(*seen), seen))


def written(kube: FakeKube) -> list[Body]:
    """Returns the Secrets that were written."""
    return [arguments[-1] for verb, arguments, _ in kube.calls if verb == "apply"]


def text_of(secret: Body, name: str) -> str:
    """Returns a value of a Secret."""
    return base64.b64decode(secret["data"][name]).decode()


def test_credentials_are_renewed_long_before_they_end(
    lender: Lender, kube: FakeKube, clock: Clock
) -> None:
    """The first look lends, later ones do once half of the time is over, and each is written."""
    job = at_work()
    renew(lender, job)
    assert lender.wait(PLANNED, [job]) == 1800
    clock.advance(1799)
    renew(lender, job)
    assert lender.wait(PLANNED, [job]) == 1
    assert len(written(kube)) == 1
    clock.advance(1)
    renew(lender, job)
    first, second = written(kube)
    assert first["metadata"]["name"] == second["metadata"]["name"] == IMPORT
    assert [text_of(secret, "accessKey") for secret in (first, second)] == ["key-1", "key-2"]
    assert lender.wait(PLANNED, [job]) == 1800


def test_a_secret_goes_with_its_job_and_says_what_it_is(lender: Lender, kube: FakeKube) -> None:
    """Owner, type, and the four files that a worker reads."""
    job = at_work()
    renew(lender, job)
    (secret,) = written(kube)
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", IMPORT, f"uid-{IMPORT}")
    assert secret["type"] == jobs.SECRET_TYPE
    assert set(secret["data"]) == {"accessKey", "secretKey", "sessionToken", "expiration"}
    until = datetime.fromisoformat(text_of(secret, "expiration"))
    assert secret["metadata"]["annotations"] == {labels.EXPIRES_AT: until.isoformat()}


def test_a_pod_that_waits_for_its_secret_is_helped_soon(
    lender: Lender, kube: FakeKube, clock: Clock
) -> None:
    """A Secret that was deleted is written again while a pod cannot start for lack of it."""
    renew(lender, at_work())
    held = at_work(pods=(pod("Pending", waiting="ContainerCreating"),))
    clock.advance(HELD_UP_S - 1)
    assert lender.wait(PLANNED, [held]) == 1
    renew(lender, held)
    assert len(written(kube)) == 1
    clock.advance(1)
    renew(lender, held)
    assert len(written(kube)) == 2


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(at_work(ended="Complete"), id="done"),
        pytest.param(at_work(stopping=True), id="stopping"),
        pytest.param(at_work(pods=(pod("Failed"), pod("Succeeded", 1))), id="pods ended"),
        pytest.param(at_work("train-sft", name=IMPORT), id="relabelled"),
        pytest.param(at_work("no-such-job"), id="not of the graph"),
    ],
)
def test_nothing_is_lent_to_others(lender: Lender, service: FakeService, job: ObservedJob) -> None:
    """Jobs that have ended get nothing, nor one whose labels do not fit its name."""
    renew(lender, job)
    assert not service.asked
    assert lender.wait(PLANNED, [job]) is None


def test_a_job_that_waits_in_a_queue_is_served(lender: Lender, service: FakeService) -> None:
    """Once its queue lets it go, its credentials must be good."""
    renew(lender, at_work(suspended=True, pods=()))
    assert [name for _, _, name in service.asked] == [IMPORT]


def test_runs_that_are_gone_are_forgotten(lender: Lender, service: FakeService) -> None:
    """As after a restart, a Job that is not remembered is lent to at the first look."""
    renew(lender, at_work())
    lender.keep([builders.UID])
    renew(lender, at_work())
    assert len(service.asked) == 1
    lender.keep([])
    renew(lender, at_work())
    assert len(service.asked) == 2


def test_an_sts_that_is_away_is_no_trouble_while_credentials_last(
    lender: Lender, service: FakeService, kube: FakeKube, clock: Clock
) -> None:
    """A renewal that fails is tried again in half a minute, and told minutes before the end."""
    job = at_work()
    renew(lender, job)
    service.error = StoreUnavailableError("http://sts is silent")
    clock.advance(1800)
    renew(lender, job)
    assert lender.wait(PLANNED, [job]) == RETRY_S
    clock.advance(1800 - LAST_CALL_S)
    with pytest.raises(StoreUnavailableError):
        renew(lender, job)
    service.error = None
    renew(lender, job)
    assert (len(service.asked), len(written(kube))) == (4, 2)
    assert lender.wait(PLANNED, [job]) == 1800


def test_a_pod_that_waits_for_its_secret_cannot_do_without(
    lender: Lender, service: FakeService, clock: Clock
) -> None:
    """However long its credentials would last, nobody can read them."""
    renew(lender, at_work())
    service.error = StoreUnavailableError("http://sts is silent")
    clock.advance(HELD_UP_S)
    with pytest.raises(StoreUnavailableError):
        renew(lender, at_work(pods=(pod("Pending", waiting="ContainerCreating"),)))


@pytest.mark.parametrize("lasts_s", [-60.0, 900.0])
def test_what_ends_before_its_renewal_is_not_relied_on(
    lender: Lender, service: FakeService, kube: FakeKube, lasts_s: float
) -> None:
    """A server whose clock is off, or that lends for less than was asked, is named."""
    service.lasts_s = lasts_s
    with pytest.raises(ConfigurationError, match=r"http://sts lends for .* compare the clocks"):
        renew(lender, at_work())
    assert not written(kube)


def test_no_secret_is_logged(
    lender: Lender, kube: FakeKube, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says to which Job was lent until when, and nothing else."""
    caplog.set_level(logging.DEBUG)
    renew(lender, at_work())
    assert f"lent job={IMPORT} until=" in caplog.text
    assert "canary" not in caplog.text
    assert "canary-secret" in text_of(written(kube)[0], "secretKey")


def statement(document: Body, action: str, number: int = 0) -> Body:
    """Returns what a policy says of an action."""
    found = [s for s in document["Statement"] if f"s3:{action}" in s["Action"]]
    return found[number] if found else {}


def places(document: Body, action: str) -> list[str]:
    """Returns where a policy allows an action, without what all ARNs begin with."""
    return [arn.removeprefix("arn:aws:s3:::") for arn in statement(document, action)["Resource"]]


def test_sources_are_open_to_those_that_read_them() -> None:
    """Imports and what reads an import may read it where it lies; all others their namespace."""
    own = "bucket/research/*"
    graph = PLANNED.graph
    brought = policy("bucket", "research", graph, "import", {})
    assert places(brought, "GetObject") == [
        own,
        "inputs/base*",
        "inputs/ift.jsonl*",
        "inputs/held-out.jsonl*",
    ]
    listing = statement(brought, "ListBucket", 1)
    assert listing["Resource"] == ["arn:aws:s3:::inputs"]
    assert listing["Condition"] == {
        "StringLike": {"s3:prefix": ["base", "ift.jsonl", "held-out.jsonl"]}
    }
    paired = policy("bucket", "research", graph, "build-pairs-1", {})
    assert places(paired, "GetObject") == [own]
    assert not statement(paired, "DeleteObject")


def test_a_source_with_a_secret_is_nobody_elses() -> None:
    """What is read with a Secret of the namespace is not opened by the operator's rights."""
    theirs = reft(data={"test": {"uri": "s3://theirs/test.jsonl", "secretName": "keys"}})
    graph = builders.graph(theirs)
    for job in {stage.job for stage in graph.stages}:
        assert "theirs" not in json.dumps(policy("bucket", "research", graph, job, {}))


def uris(length: int, *names: str) -> dict[str, Any]:
    """Returns an S3 source of so many characters for each name."""
    return {name: {"uri": f"s3://inputs/{name}".ljust(length, "x")} for name in names}


REFT_DATA = ("train", "validation", "test")


EVERYTHING: dict[str, Any] = {
    "baselines": ["sft", "offline-self-training", "online-self-training"],
    "reasoning": "program",
    "lora": {"rank": 8},
}


LARGEST: dict[str, RunSpec] = {
    "selfreward": spec(**uris(50, "model"), data=uris(50, "instructions", "heldOut")),
    "selfreward-everything": spec(
        **uris(50, "model"),
        data=uris(50, "instructions", "heldOut", "evaluations"),
        prompts=uris(50, "model"),
        gates={"minJudgeAccuracy": {"limit": 0.5}},
    ),
    "reft": reft(**uris(50, "model"), data=uris(50, *REFT_DATA)),
    "reft-everything": reft(**uris(50, "model"), data=uris(50, *REFT_DATA), **EVERYTHING),
    "reft-grpo": reft(algorithm="grpo", reranker={"enabled": False}),
}


LONG = 63
"""Characters of the longest names of a bucket and of a namespace."""


@pytest.mark.parametrize("of", LARGEST.values(), ids=LARGEST)
def test_every_policy_is_short_enough_for_an_sts(of: RunSpec) -> None:
    """With the longest bucket and namespace every stage's policy fits, keys known or not."""
    graph = builders.graph(of)
    for artifacts in ({}, builders.published(graph)):
        for job in dict.fromkeys(stage.job for stage in graph.stages):
            document = policy("b" * LONG, "n" * LONG, graph, job, artifacts)
            assert len(encoded(document)) <= MAX_POLICY, job


@pytest.mark.parametrize(
    ("length", "exact"), [pytest.param(50, True, id="short"), pytest.param(150, False, id="long")]
)
def test_each_place_is_named_where_that_fits(length: int, exact: bool) -> None:
    """An import names what it writes, unless its inputs' URIs are so long that kinds must do."""
    graph = builders.graph(reft(**uris(length, "model"), data=uris(length, *REFT_DATA)))
    document = policy("autodidact", "research", graph, "import", {})
    assert len(encoded(document)) <= MAX_POLICY
    written = [place for place in places(document, "PutObject") if "/import-" in place]
    assert len(written) == (4 if exact else 1)
    assert (written == [f"autodidact/research/artifacts/import-{'?' * 32}/*"]) is not exact
