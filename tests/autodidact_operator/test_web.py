import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from autodidact_contract.task import Progress
from autodidact_operator.cluster.kube import Identity
from autodidact_operator.cluster.resources import PODS
from autodidact_operator.errors import ApiUnavailableError
from autodidact_operator.telemetry import Telemetry
from autodidact_operator.web import MAX_BODY_BYTES, Bucket, Doorman, Probes, Reporter, Server
from support.control import Clock, body, of_run

Answer = tuple[int, str, Mapping[str, str]]
GOOD = {"Authorization": "Bearer good"}
PROGRESS = {"stage": "judge-1", "step": 3, "total": 9, "metrics": {"loss": 0.5}}


class FakeReviewer:
    """Knows one good token, of the pod `pod` in `research`."""

    def __init__(self) -> None:
        self.asked = []
        self.identity = Identity(
            username="system:serviceaccount:research:default", pod_name="pod", pod_uid="uid-pod"
        )
        self.error = None

    async def token_review(self, token: str, audiences: list[str]) -> Identity | None:
        """Note the question."""
        self.asked.append((token, audiences))
        if self.error:
            raise self.error
        return self.identity if token in GOOD["Authorization"].split() else None


class House:
    """A server among fakes."""

    def __init__(self, clock: Clock) -> None:
        self.reviewer = FakeReviewer()
        self.pods = {("research", "pod"): body(PODS, "pod", labels=of_run())}
        self.reports = []
        self.room = True
        self.ill = ""
        self.ready = True
        self.leading = True
        self.leader = ""
        self.clock = clock

    def application(self) -> web.Application:
        """The server's application."""
        probes = Probes(
            ill=lambda: self.ill,
            is_ready=lambda: self.ready,
            measure=lambda: None,
            is_leading=lambda: self.leading,
            leader=lambda: self.leader,
        )
        doorman = Doorman(self.reviewer, "ours", lambda *place: self.pods.get(place), self.clock)
        server = Server(probes=probes, telemetry=Telemetry(), doorman=doorman, report=self._report)
        return server.application()

    def _report(self, reporter: Reporter, progress: Progress) -> bool:
        self.reports.append((reporter, progress))
        return self.room


@pytest.fixture
def house(clock: Clock) -> House:
    """A server that leads and is well."""
    return House(clock)


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    """The base URL of an application on a free port of this machine."""
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def ask(house: House, path: str, **options: Any) -> Answer:
    """Returns status, text and headers of a GET."""
    return asyncio.run(_ask(house, "GET", path, 1, options))[0]


def post(
    house: House, headers: dict[str, str] = GOOD, data: str | None = None, times: int = 1
) -> list[int]:
    """Returns the statuses of reports."""
    raw = json.dumps(PROGRESS) if data is None else data
    options = {"headers": headers, "data": raw}
    answers = asyncio.run(_ask(house, "POST", "/v1/progress", times, options))
    return [status for status, _, _ in answers]


async def _ask(
    house: House, method: str, path: str, times: int, options: dict[str, Any]
) -> list[Answer]:
    answers = []
    async with served(house.application()) as url, aiohttp.ClientSession() as session:
        for _ in range(times):
            async with session.request(method, url + path, **options) as answer:
                answers.append((answer.status, await answer.text(), answer.headers))
    return answers


def test_health_says_what_is_wrong(house: House) -> None:
    """A process that is ill answers 500 and why."""
    assert ask(house, "/healthz")[:2] == (200, "ok\n")
    house.ill = "silent watches: pods 200 s"
    assert ask(house, "/healthz")[:2] == (500, "silent watches: pods 200 s\n")


def test_readiness_follows_the_cache(house: House) -> None:
    """A process is ready when its cache is filled, leading or not."""
    house.leading = False
    assert ask(house, "/readyz")[0] == 200
    house.ready = False
    assert ask(house, "/readyz")[0] == 503


def test_metrics_are_in_the_text_format(house: House) -> None:
    """Prometheus can read the metrics."""
    status, text, headers = ask(house, "/metrics")
    assert status == 200
    assert "autodidact_queue_depth 0.0" in text
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_a_report_of_a_runs_pod_is_taken(house: House) -> None:
    """A pod's report comes with the run, the shard and the pod."""
    house.pods["research", "pod"]["metadata"]["labels"][
        "batch.kubernetes.io/job-completion-index"
    ] = "3"
    assert post(house) == [204]
    reporter, progress = house.reports[0]
    assert (reporter.run_uid, reporter.shard, reporter.pod_uid) == ("uid-a", 3, "uid-pod")
    assert (progress.step, progress.metrics) == (3, {"loss": 0.5})
    assert house.reviewer.asked == [("good", ["ours"])]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Basic good"}, {"Authorization": "Bearer "},
     {"Authorization": "Bearer forged"}],
)  # fmt: skip
def test_without_a_valid_token_nobody_reports(house: House, headers: dict[str, str]) -> None:
    """No token, another scheme and a forged token are unauthorised."""
    assert post(house, headers) == [401]
    assert house.reports == []


def test_a_pod_of_nobodys_run_may_not_report(house: House) -> None:
    """A valid token of a pod without our labels is forbidden."""
    house.pods["research", "pod"]["metadata"]["labels"] = {}
    assert post(house) == [403]


def test_a_pod_that_took_over_a_name_may_not_report(house: House) -> None:
    """A token of a pod with the name of another is forbidden."""
    house.pods["research", "pod"]["metadata"]["uid"] = "another"
    assert post(house) == [403]


@pytest.mark.parametrize("username", ["admin", "system:serviceaccount:other:default"])
def test_a_token_of_another_namespace_may_not_report(house: House, username: str) -> None:
    """The namespace comes from the token and from nowhere else."""
    house.reviewer.identity = Identity(username=username, pod_name="pod", pod_uid="uid-pod")
    assert post(house) == [403]


def test_a_token_without_a_pod_may_not_report(house: House) -> None:
    """A token that is not bound to a pod is forbidden."""
    house.reviewer.identity = Identity(
        username="system:serviceaccount:research:default", pod_name="", pod_uid=""
    )
    assert post(house) == [403]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("not json", 400),
        ('{"stage": "x"}', 400),
        ('{"stage": "x", "step": -1, "total": 1}', 400),
        ('{"stage": "x", "step": 1, "total": 1, "more": 1}', 400),
        ("x" * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_a_malformed_report_is_refused(house: House, data: str | None, status: int) -> None:
    """What is not a report, or too long for one, is refused."""
    assert post(house, data=data) == [status]
    assert house.reports == []


def test_a_token_is_reviewed_once_a_minute(house: House, clock: Clock) -> None:
    """The API server is asked about a token once, and again after a minute."""

    async def scene() -> Any:
        async with served(house.application()) as url, aiohttp.ClientSession() as session:
            for wait in (0, 30, 31):
                clock.advance(wait)
                await session.post(url + "/v1/progress", json=PROGRESS, headers=GOOD)

    asyncio.run(scene())
    assert len(house.reviewer.asked) == 2


def test_a_pod_that_reports_too_often_is_slowed_down(house: House) -> None:
    """After a burst a pod has to wait, and is told so."""
    statuses = post(house, times=15)
    assert statuses == [204] * 10 + [429] * 5


def test_strangers_cannot_flood_the_api_server(house: House) -> None:
    """Of many forged tokens only so many are reviewed."""

    async def scene() -> Any:
        async with served(house.application()) as url, aiohttp.ClientSession() as session:
            statuses = []
            for number in range(220):
                headers = {"Authorization": f"Bearer {number}"}
                async with session.post(url + "/v1/progress", headers=headers) as answer:
                    statuses.append(answer.status)
        return statuses

    assert asyncio.run(scene()) == [401] * 200 + [429] * 20


def test_no_room_is_said_so(house: House) -> None:
    """A report that there is no room for is refused for a while."""
    house.room = False
    assert post(house) == [429]


def test_without_the_api_server_a_report_is_to_be_repeated(house: House) -> None:
    """When tokens cannot be verified, nobody is let in and nobody is sent away for good."""
    house.reviewer.error = ApiUnavailableError("away")
    assert post(house) == [503]


def test_a_standby_passes_reports_on(house: House, clock: Clock) -> None:
    """A report that reaches a standby ends up with the leader."""
    leader = House(clock)

    async def scene() -> Any:
        house.leading = False
        async with served(leader.application()) as house.leader:
            return await _ask(house, "POST", "/v1/progress", 1, {"headers": GOOD, "json": PROGRESS})

    assert asyncio.run(scene())[0][0] == 204
    assert len(leader.reports) == 1
    assert house.reviewer.asked == []


def test_standbys_do_not_pass_reports_around(house: House, clock: Clock) -> None:
    """A report passed on to another standby stops there."""
    other = House(clock)
    other.leading = False
    other.leader = "http://127.0.0.1:9"

    async def scene() -> Any:
        house.leading = False
        async with served(other.application()) as house.leader:
            return await _ask(house, "POST", "/v1/progress", 1, {"headers": GOOD, "json": PROGRESS})

    assert asyncio.run(scene())[0][0] == 503


def test_without_a_leader_a_report_is_to_be_repeated(house: House) -> None:
    """A standby that knows no leader says so."""
    house.leading = False
    assert post(house) == [503]


def test_a_bucket_fills_again(clock: Clock) -> None:
    """A bucket gives a burst, then a steady rate, and says how long to wait."""
    bucket = Bucket(2.0, 3.0, clock())
    assert [bucket.take(clock()) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(clock()) == pytest.approx(0.5)
    clock.advance(0.5)
    assert bucket.take(clock()) == 0
