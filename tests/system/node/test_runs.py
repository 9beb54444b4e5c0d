"""Runs as users have them on a GPU cluster: built images, restricted pods, the chart by Helm."""

import base64
import time

import pytest

from autodidact_contract.api.status import RunStatus
from autodidact_operator.runs.jobs import SECRET_TYPE
from support import canaries
from tools.demo.__main__ import EXAMPLE_RUNS, Example
from tools.installation import DEPLOYMENT, SECRET, SYSTEM
from tools.node import figures, timing
from tools.node.figures import phase
from tools.node.runs import Place, leaks_in_the_store

JOB_NAME = "batch.kubernetes.io/job-name"


@pytest.mark.parametrize("example", EXAMPLE_RUNS, ids=lambda example: example.path.stem)
def test_toy_run_succeeds(place: Place, example: Example) -> None:
    """A toy learns, and apply, wait, logs, describe and delete work on it as they do on a Job."""
    kubectl, installed = place.kubectl, place.installed
    kind, _, name = example.address.partition("/")
    with phase(f"{example.path.stem} {figures.TO_SUCCESS}"):
        kubectl("apply", "--filename", str(example.path))
        ended = installed.until_ended(place.namespace, name, kind, timeout_s=2400)
    status = RunStatus.model_validate(ended)
    assert status.phase == "Succeeded", status.conditions
    assert not example.shortfall(status.history)
    kubectl("wait", example.address, "--for=condition=Succeeded", "--timeout=10s")
    pods = place.items("pods")
    assert {pod["spec"]["securityContext"]["runAsUser"] for pod in pods} == {10001}
    for job in {pod["metadata"]["labels"][JOB_NAME] for pod in pods}:
        assert "published" in kubectl("logs", f"job/{job}")
    assert "Succeeded" in kubectl("describe", example.address)
    secrets = secrets_of(place)
    assert not canaries.leaks(canaries.on_the_api(installed.cluster, place.namespace), secrets)
    assert not leaks_in_the_store(installed, place.namespace, secrets)
    figures.notes += [f"{example.path.stem}: {line}" for line in timing.lines(place)]
    figures.notes.append(operator_figures(place))
    kubectl("delete", example.address, "--timeout=60s")
    kubectl("wait", "pods", "--all", "--for=delete", "--timeout=60s")


def secrets_of(place: Place) -> set[str]:
    """Returns the store's own key, and what the Jobs of a namespace were lent last."""
    found = [item for item in place.items("secrets") if item["type"] == SECRET_TYPE]
    assert found
    root = place.installed.cluster.get("secret", SECRET, SYSTEM)
    values = [item["data"][name] for item in found for name in ("secretKey", "sessionToken")]
    return {base64.b64decode(value).decode() for value in (*values, root["data"]["secretKey"])}


def operator_figures(place: Place) -> str:
    """Returns what the operator takes of memory and has taken of a processor."""
    found = (node.process(AUTODIDACT_LEASE_NAME=DEPLOYMENT) for node in place.nodes)
    process = next(filter(None, found))
    memory, times = process.memory_info().rss / 2**20, process.cpu_times()
    age = time.time() - process.create_time()
    share = (times.user + times.system) / age
    return f"operator: {memory:.0f} MiB resident, {share:.1%} of a processor over {age:.0f} s"
