"""The operator, its cluster and its store, as the end-to-end tests use them."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from autodidact_operator.cluster import labels
from autodidact_store import open_store
from autodidact_store.protocol import Store
from support.scripted_stages import Script, ScriptedStages
from tools.cluster import audit
from tools.cluster.control_plane import Cluster
from tools.cluster.node_process import NodeProcess
from tools.cluster.processes import ProcessError, free_ports
from tools.cluster.waiting import eventually
from tools.installation import BUCKET, DEPLOYMENT, SYSTEM, Installation

Body = dict[str, Any]
ACCOUNT = f"system:serviceaccount:{SYSTEM}:{DEPLOYMENT}"
KINDS = {"srr": "SelfRewardRun", "reft": "ReFTRun"}
_PROGRAM = ["-m", "autodidact_operator"]


@dataclass(kw_only=True)
class House:
    """Everything that is running.

    Attributes:
        node: Runs pods as processes.
        stages: Plays the pods of profile `scripted`.
    """

    installed: Installation
    node: NodeProcess
    stages: ScriptedStages

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.installed.cluster

    def place(self, namespace: str) -> "Place":
        """Makes a namespace; there is no Secret in it, for each Job is lent its own credentials."""
        self.cluster.create_namespace(namespace)
        return Place(house=self, namespace=namespace)

    def store(self) -> Store:
        """Returns the artifact store."""
        return open_store(f"s3://{BUCKET}", self.installed.store_environment())

    def operator(self) -> psutil.Process | None:
        """Returns the process of the operator, None while there is none."""
        for process in psutil.process_iter():
            try:
                ours = process.cmdline()[1:] == _PROGRAM
                if ours and process.environ().get("AUTODIDACT_PORT") == str(self.installed.port):
                    return process
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return None

    def kill_operator(self) -> None:
        """Ends the operator as a power cut would; its pod starts it again."""
        process = eventually(self.operator)
        assert process is not None
        process.kill()
        process.wait(10)

    def until_operating(self, timeout_s: float = 60) -> None:
        """Returns when the operator is ready."""
        eventually(lambda: is_ready(self.installed.port), timeout_s)


def is_ready(port: int) -> bool:
    """Returns whether the operator on a port is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def another(house: House) -> Iterator[None]:
    """Runs a second operator beside the first, with its settings and a port of its own."""
    (port,) = free_ports(1)
    first = house.operator()
    assert first is not None
    environment = {
        **first.environ(),
        "AUTODIDACT_PORT": str(port),
        "AUTODIDACT_POD_NAME": "standby",
    }
    with (
        (house.cluster.directory / "standby.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "autodidact_operator"],
            env=environment,
            cwd=first.cwd(),
            stdout=log,
            stderr=log,
        ) as second,
    ):
        try:
            eventually(lambda: is_ready(port))
            yield
        finally:
            second.terminate()


class changed:  # noqa: N801 - used as a function
    """Changes values of the release for a while, or its chart."""

    def __init__(self, installed: Installation, chart: Path | None = None, **values: Any) -> None:
        self._installed = installed
        self._before = installed.chart, installed.values
        self._meanwhile = chart or installed.chart, {**installed.values, **values}

    def __enter__(self) -> None:
        self._upgrade(*self._meanwhile)

    def __exit__(self, *_: object) -> None:
        self._upgrade(*self._before)

    def _upgrade(self, chart: Path, values: dict[str, Any]) -> None:
        self._installed.chart, self._installed.values = chart, values
        self._installed.helm()
        rollout = ("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=60s")
        self._installed.cluster.kubectl("-n", SYSTEM, *rollout)


@dataclass(kw_only=True)
class Place:
    """A namespace, and short ways to do in it what people do.

    Attributes:
        kind: Short name of the kind of its runs.
    """

    house: House
    namespace: str
    kind: str = "srr"

    def of(self, kind: str) -> "Place":
        """Returns the same namespace for runs of another kind."""
        return replace(self, kind=kind)

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Runs kubectl in the namespace."""
        return self.house.cluster.kubectl("-n", self.namespace, *arguments, **options)

    def apply(self, body: Body) -> str:
        """Applies a run and returns its name."""
        self.kubectl("apply", "-f", "-", input_text=json.dumps(body))
        name: str = body["metadata"]["name"]
        return name

    def refusal(self, body: Body, *arguments: str) -> str:
        """Applies what the API server must refuse, and returns what it says."""
        done = subprocess.run(
            [
                *(self.house.cluster.tool("kubectl"), "-n", self.namespace, "apply"),
                *("-f", "-", *arguments),
            ],
            env=self.house.cluster.environment,
            input=json.dumps(body),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0, done.stdout
        return done.stderr

    def edit(self, name: str, **spec: Any) -> None:
        """Changes fields of a run's spec."""
        self.kubectl("patch", self.kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete(self, name: str) -> None:
        """Deletes a run; returns when it is gone."""
        self.kubectl("delete", self.kind, name, "--timeout=30s")

    def script(self, name: str) -> Script:
        """Returns what becomes of the pods of a scripted run."""
        return self.house.stages.script(self.namespace, name)

    def run(self, name: str) -> Body:
        """Returns a run object."""
        return self.house.installed.run(self.namespace, name, self.kind)

    def uid(self, name: str) -> str:
        """Returns a run's UID."""
        found: str = self.run(name)["metadata"]["uid"]
        return found

    def status(self, name: str) -> Body:
        """Returns a run's status."""
        return self.house.installed.status(self.namespace, name, self.kind)

    def until(self, name: str, holds: Callable[[Body], object], timeout_s: float = 60) -> Body:
        """Returns the first status seen for which something holds.

        Raises:
            TimeoutError: It did not hold in time; the message holds the last status.
        """
        last: Body = {}

        def look() -> Body | None:
            nonlocal last
            with suppress(ProcessError):  # The API server may be the one that is away.
                last = self.status(name)
                return last if last and holds(last) else None
            return None

        try:
            found = eventually(look, timeout_s)
        except TimeoutError:
            jobs = self.kubectl("get", "jobs,pods")
            raise TimeoutError(f"run {name} after {timeout_s} s: {last}\n{jobs}") from None
        assert found is not None
        return found

    def until_ended(self, name: str, timeout_s: float = 60) -> Body:
        """Returns the final status of a run."""
        return self.until(name, lambda s: s["phase"] in ("Succeeded", "Failed"), timeout_s)

    def until_says(self, name: str, reason: str, timeout_s: float = 60) -> str:
        """Returns the message of a run whose conditions have a reason."""
        return message(self.until(name, lambda s: why(s) == reason, timeout_s))

    def jobs(self, name: str = "") -> list[Body]:
        """Returns the Jobs, of one run or of all."""
        chosen = ("-l", f"{labels.RUN}={name}") if name else ()
        found: list[Body] = json.loads(self.kubectl("get", "jobs", *chosen, "-o", "json"))["items"]
        return found

    def active_jobs(self, name: str) -> list[str]:
        """Returns the names of a run's Jobs that have not ended and are not being deleted."""
        return [
            job["metadata"]["name"]
            for job in self.jobs(name)
            if not any(
                c["type"] in ("Complete", "Failed") and c["status"] == "True"
                for c in job["status"].get("conditions", ())
            )
            and "deletionTimestamp" not in job["metadata"]
        ]

    def events(self, name: str) -> list[Body]:
        """Returns the Events about a run."""
        field = f"involvedObject.name={name},involvedObject.kind={KINDS[self.kind]}"
        found: list[Body] = json.loads(
            self.kubectl("get", "events", "--field-selector", field, "-o", "json")
        )["items"]
        return found

    def created_jobs(self, uid: str = "") -> Counter[str]:
        """Returns how often each Job was created, from the audit log; of one run or of all.

        Of a request whose sender died before the answer the log says 504, whether or not it made
        the Job: a Job that is there was created once if the log knows of no more.
        """
        created: Counter[str] = Counter()
        for entry in audit.read(self.house.cluster.audit_log):
            about = entry["objectRef"]
            if (entry["verb"], about["resource"]) != ("create", "jobs"):
                continue
            if about.get("namespace") != self.namespace or entry["responseStatus"]["code"] >= 300:
                continue
            metadata = entry["requestObject"]["metadata"]
            if uid in ("", metadata["labels"][labels.RUN_UID]):
                created[metadata["name"]] += 1
        there = (job["metadata"] for job in self.jobs())
        return created | Counter(
            metadata["name"]
            for metadata in there
            if uid in ("", metadata.get("labels", {}).get(labels.RUN_UID))
        )

    def record(self, uid: str) -> Body:
        """Returns a run's record in the store, once it is written."""
        key = f"{self.namespace}/runs/{uid}/run.json"
        data = eventually(lambda: self._bytes(key), 10)
        record: Body = json.loads(data or b"{}")
        return record

    def _bytes(self, key: str) -> bytes | None:
        minio = self.house.installed.minio()
        if not any(True for _ in minio.list_objects(BUCKET, prefix=key)):
            return None
        answer = minio.get_object(BUCKET, key)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()


def why(status: Mapping[str, Any]) -> str:
    """Returns the reason that a run's conditions give."""
    return next((c["reason"] for c in status.get("conditions", ())), "")


def message(status: Mapping[str, Any]) -> str:
    """Returns the sentence that a run's conditions say."""
    return next((c["message"] for c in status.get("conditions", ())), "")


def conditions(status: Mapping[str, Any]) -> dict[str, str]:
    """Returns the status of each condition."""
    return {c["type"]: c["status"] for c in status.get("conditions", ())}


def digests(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns the digest of every artifact of a run's record, by stage."""
    return {name: about["digest"] for name, about in record["artifacts"].items()}
