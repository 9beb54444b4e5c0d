"""The figures themselves: what is read from an audit log, and how it is summed up and printed."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from autodidact_contract.stages.data import BuildPairs
from autodidact_contract.task import Input, Result, RunRef, StageTask, Task
from autodidact_operator.cluster import labels
from tools import auditing
from tools.bench import worker
from tools.bench.figures import Figure, Machine, percentiles, show

USER = "system:serviceaccount:autodidact-system:autodidact-operator"
KEY = "a" * 32
MACHINE = Machine(system="Linux", python="3.12", cores=2, memory_gb=8.0, load=0.1)


def entry(verb: str, resource: str, at_s: float, took_s: float = 0.0, **more: Any) -> str:
    """Returns a line of an audit log."""
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)
    name, _, subresource = resource.partition("/")
    about = {"resource": name, "namespace": "research", "name": more.pop("name", "x")}
    content = {
        "verb": verb,
        "user": {"username": USER},
        "objectRef": about | ({"subresource": subresource} if subresource else {}),
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": began.isoformat(),
        "stageTimestamp": (began + timedelta(seconds=took_s)).isoformat(),
    }
    return json.dumps(content | more) + "\n"


def ended(at_s: float, took_s: float, pod: str) -> str:
    """Returns the write that makes a pod terminal, which published `KEY`."""
    message = Result(published={"judge-1": KEY}).model_dump_json()
    container = {"state": {"terminated": {"exitCode": 0, "message": message}}}
    body = {"status": {"phase": "Succeeded", "containerStatuses": [container]}}
    return entry("patch", "pods/status", at_s, took_s, name=pod, requestObject=body)


def created(at_s: float, attempt: int = 1) -> str:
    """Returns the creation of a Job that reads `KEY`."""
    config = BuildPairs(tie_break="random", min_score_gap=0, exclude_truncated=True)
    judged = Input(artifact=f"judge-{KEY}", digest="d")
    stage = StageTask(name="build-pairs-1", config=config, inputs={"judged": judged})
    ref = RunRef(kind="SelfRewardRun", namespace="research", name="toy", uid="u")
    task = Task(run=ref, job="build-pairs-1", attempt=attempt, stages=(stage,))
    env = [{"name": "AUTODIDACT_TASK", "value": task.model_dump_json(by_alias=True)}]
    body = {
        "metadata": {"name": f"toy-{attempt}", "labels": {labels.ATTEMPT: str(attempt)}},
        "spec": {"template": {"spec": {"containers": [{"env": env}]}}},
    }
    return entry("create", "jobs", at_s, requestObject=body)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two shards end, the node says so of one again, and the next Job comes, and its retry."""
    path = tmp_path / "audit.log"
    path.write_text(
        ended(1.0, 0.1, "a")
        + ended(2.0, 0.1, "b")
        + ended(2.11, 0.0, "b")
        + created(2.125)
        + entry("patch", "selfrewardruns/status", 2.2)
        + created(9.0, attempt=2)
    )
    return path


def test_a_gap_begins_with_the_last_pod_of_what_is_read(log: Path) -> None:
    """From the accepted status of the last shard to the Job; retries wait on purpose."""
    assert auditing.stage_gaps(log, "research") == [pytest.approx(0.025)]
    assert auditing.stage_gaps(log, "elsewhere") == []


def test_writes_are_counted_by_verb_and_resource(log: Path) -> None:
    """Only those of the user asked for."""
    writes = auditing.operator_writes(log, "research", USER)
    assert writes["create", "jobs"] == 2
    assert writes["patch", "selfrewardruns/status"] == 1
    assert not auditing.operator_writes(log, "research", "somebody")


def test_a_percentile_was_measured() -> None:
    """Nearest rank, in milliseconds."""
    found = percentiles("gap", [0.001 * n for n in range(1, 101)], {50: "<= 20", 99: ""})
    assert [(f.name, round(f.value), f.aim) for f in found] == [
        ("gap.p50", 50, "<= 20"),
        ("gap.p99", 99, ""),
    ]


def test_a_line_per_figure() -> None:
    """Name, value, unit and aim, and the machine in front."""
    out = io.StringIO()
    show(Console(file=out), MACHINE, [Figure(name="rss", value=81.64, unit="MB", aim="<= 120")])
    assert out.getvalue().splitlines()[1:] == ["rss 81.6 MB <= 120"]


def test_a_workers_log_says_where_its_time_went() -> None:
    """Loading a model inside a stage's work counts as loading."""
    text = """\
2026-01-01 00:00:01,500 INFO stage=judge-1 a.models model loaded path=x seconds=1.5
some library's own line
2026-01-01 00:00:09,000 INFO stage=judge-1 a.frame done artifact=judge-x \
waitSeconds=0.0 loadSeconds=2.0 fetchSeconds=0.5 workSeconds=4.0 publishSeconds=0.25
"""
    spent = worker._spent(worker.lines(text))
    assert spent == {"judge": 2.5, "load": 4.0, "publish": 0.25}
