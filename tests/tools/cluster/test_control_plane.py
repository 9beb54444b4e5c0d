"""The control plane and MinIO as processes: they answer, live side by side and end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from minio import Minio

from tools.cluster import audit, manifests
from tools.cluster.control_plane import Cluster
from tools.cluster.node_settings import NodeSettings
from tools.cluster.object_store import S3Server
from tools.cluster.processes import Keeper, ProcessError
from tools.cluster.waiting import eventually
from tools.paths import TESTS

_STARTER = """
import json, sys, threading
from tools.cluster import manifests
from tools.cluster.control_plane import Cluster, Options
cluster = Cluster(options=Options(fast=True))
cluster.start()
cluster.add_node()
cluster.create_namespace("x")
cluster.apply(manifests.pod("x", "sleeper", ["sh", "-c", "setsid sleep 321 & exec sleep 321"]))
cluster.kubectl("-n", "x", "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
print(json.dumps(str(cluster.directory)), flush=True)
threading.Event().wait()
"""


def _processes_in(directory: Path) -> list[psutil.Process]:
    """Return all processes that show a directory in their command line, place or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            shown = [*process.cmdline(), process.cwd(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(directory) in text for text in shown):
            found.append(process)
    return found


def test_server_and_clients_agree_on_the_version(cluster: Cluster) -> None:
    """The client talks to a server of its own, real version."""
    version = json.loads(cluster.kubectl("version", "--output=json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"]


def test_a_failing_kubectl_raises_with_its_message(cluster: Cluster) -> None:
    """A kubectl command that fails raises with what it said."""
    with pytest.raises(ProcessError, match="not found"):
        cluster.kubectl("get", "pod", "nobody")


def test_helm_installs_a_chart(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Helm installs a chart and leaves nothing in the user's home."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: tiny, version: 0.1.0}")
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "installed"}}
    (tmp_path / "templates" / "config.yaml").write_text(json.dumps(config))
    cluster.helm("install", "tiny", str(tmp_path), "--namespace", namespace)
    assert cluster.get("configmap", "installed", namespace)["metadata"]["name"] == "installed"


def test_the_audit_log_records_writes_to_the_microsecond(cluster: Cluster, namespace: str) -> None:
    """A Job's creation is in the audit log with microseconds and without the reads around it."""
    cluster.apply(manifests.job(namespace, "audited", ["true"]))
    entries = [
        entry
        for entry in audit.read(cluster.audit_log)
        if entry["objectRef"].get("namespace") == namespace
        and entry["objectRef"]["resource"] == "jobs"
    ]
    assert entries[0]["verb"] == "create"
    assert len(entries[0]["requestReceivedTimestamp"]) == len("2026-01-01T00:00:00.000000Z")
    assert not {"get", "list", "watch"} & {entry["verb"] for entry in entries}


def test_the_api_server_comes_back_on_its_port(cluster: Cluster, namespace: str) -> None:
    """After a restart the API server answers at the same place with the same content."""
    url = cluster.api_url
    cluster.restart_api_server()
    assert cluster.api_url == url
    assert cluster.get("namespace", namespace)["metadata"]["name"] == namespace


def test_two_clusters_run_at_once(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """A second cluster shares neither ports nor content, and its end leaves the first alone."""
    with Cluster(tmp_path / "second") as second:
        names = [item["metadata"]["name"] for item in second.get("namespaces")["items"]]
        assert namespace not in names
        assert second.minio.endpoint != cluster.minio.endpoint
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
    assert _processes_in(tmp_path / "second") == []


def test_a_used_directory_is_refused(tmp_path: Path) -> None:
    """A cluster never starts in a directory that holds something."""
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        Cluster(tmp_path).start()


@pytest.mark.cluster
def test_nothing_outlives_a_killed_starter() -> None:
    """A kill -9 of the starter ends every process of its cluster and its pods."""
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER], stdout=subprocess.PIPE, env=environment
    )
    assert starter.stdout is not None
    directory = Path(json.loads(starter.stdout.readline()))
    assert len(_processes_in(directory)) >= 10
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    eventually(lambda: not _processes_in(directory) and not directory.exists())


def test_a_killed_keeper_takes_everything_along(tmp_path: Path) -> None:
    """A kill -9 of the process that watches over the others ends them too."""
    keeper = Keeper(tmp_path)
    sleeper = keeper.start("sleeper", ["sleep", "321"], {"PATH": os.defpath})
    psutil.Process(sleeper.pid).parent().kill()
    eventually(lambda: not psutil.pid_exists(sleeper.pid))
    with pytest.raises(ProcessError, match="keeper is gone"):
        sleeper.exit_code()
    keeper.close()


def test_a_process_that_dies_is_reported_with_its_log(tmp_path: Path) -> None:
    """Waiting for a process that dies raises at once, with the end of its log."""
    keeper = Keeper(tmp_path)
    command = ["sh", "-c", "echo broken settings; exit 3"]
    process = keeper.start("failing", command, {"PATH": os.defpath})
    with pytest.raises(ProcessError, match=r"exited with 3(.|\n)*broken settings"):
        process.wait_until(lambda: False)
    keeper.close()


def test_minio_keeps_port_and_data_over_a_power_cut(minio: S3Server) -> None:
    """A killed object store comes back at its place with its buckets."""
    client = Minio(minio.endpoint, minio.access_key, minio.secret_key, secure=False)
    client.make_bucket("kept")
    minio.kill()
    minio.start()
    assert client.bucket_exists("kept")


@pytest.mark.cluster
def test_a_detached_cluster_runs_until_told_to_end(tmp_path: Path) -> None:
    """`up --detach` leaves a cluster behind, `status` and `env` know it, `down` ends it."""
    environment = os.environ | {"PYTHONPATH": str(TESTS), "XDG_STATE_HOME": str(tmp_path)}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "tools.cluster", *arguments]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    assert command("up", "--detach", "--fast", "--no-node").returncode == 0
    try:
        script = f"{command('env').stdout}\nkubectl get --raw /readyz"
        assert subprocess.check_output(["sh", "-c", script], env=environment) == b"ok"
        directory = Path(command("status").stdout.split()[4])
    finally:
        command("down")
    assert command("status").returncode == 1
    assert not directory.exists()
    assert not list(tmp_path.rglob("*.*"))


def test_settings_survive_the_way_to_another_process() -> None:
    """Node settings are the same after their way through JSON."""
    settings = NodeSettings(name="a", labels={"x": "y"}, entrypoints={"worker": ["python"]})
    assert NodeSettings.from_json(settings.to_json()) == settings
