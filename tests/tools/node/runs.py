"""One run on real nodes: what it shows, what its pods show, what its stages published."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autodidact_contract.artifacts import Manifest
from autodidact_contract.base import GROUP
from tools.cluster.waiting import eventually
from tools.installation import DEPLOYMENT, SYSTEM, Installation
from tools.node.node import RealNode

Body = dict[str, Any]

TELL_S = 10.0
"""Seconds within which a run says what its pods suffer from."""

SMALL = {"requests": {"cpu": "100m", "memory": "64Mi"}}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A namespace on a cluster of real nodes.

    Attributes:
        nodes: All of the cluster.
    """

    installed: Installation
    nodes: list[RealNode]
    namespace: str

    def profile(self, name: str, **fields: Any) -> str:
        """Makes a ComputeProfile of small pods, called like the namespace and the name."""
        full = f"{self.namespace}-{name}"
        self.installed.cluster.apply(
            {
                "apiVersion": "autodidact.dev/v1alpha1",
                "kind": "ComputeProfile",
                "metadata": {"name": full},
                "spec": {"resources": SMALL, **fields},
            }
        )
        return full

    def start(self, body: Body) -> "Run":
        """Applies a run; returns it when the operator has seen it."""
        self.installed.cluster.apply(body)
        run = Run(place=self, name=body["metadata"]["name"], kind=body["kind"].lower())
        eventually(run.status)
        return run

    def items(self, kind: str) -> list[Body]:
        """Returns all objects of a kind."""
        found: list[Body] = self.installed.cluster.get(kind, namespace=self.namespace)["items"]
        return found

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Runs kubectl in the namespace."""
        return self.installed.cluster.kubectl("-n", self.namespace, *arguments, check=check)

    def node_of(self, pod: Body) -> RealNode:
        """Returns the node of a pod."""
        (found,) = (node for node in self.nodes if node.name == pod["spec"]["nodeName"])
        return found


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that was applied."""

    place: Place
    name: str
    kind: str

    def pods(self, **labels: str) -> list[Body]:
        """Returns its pods with these labels of ours, in the order of their indexes."""
        wanted = {f"{GROUP}/{name}": value for name, value in {"run": self.name, **labels}.items()}
        found = (
            pod
            for pod in self.place.items("pods")
            if wanted.items() <= pod["metadata"]["labels"].items()
        )
        return sorted(found, key=lambda pod: str(pod["spec"].get("hostname")))

    def pod(self, **labels: str) -> Body:
        """Returns the first of them, an empty dictionary without one."""
        return next(iter(self.pods(**labels)), {})

    def log(self, **labels: str) -> str:
        """Returns what the first of them has printed, nothing if it is not there."""
        pod = self.pod(**labels)
        return self.place.kubectl("logs", pod["metadata"]["name"], check=False) if pod else ""

    def status(self) -> Body:
        """Returns its status."""
        return self.place.installed.status(self.place.namespace, self.name, self.kind)

    def books(self, job: str) -> Body:
        """Returns what its status counts of a job that is not done."""
        found = (entry for entry in self.status().get("jobs", ()) if entry["name"] == job)
        return next(found, {})

    def told(self) -> str:
        """Returns everything its conditions and stages say."""
        status = self.status()
        said = (*status.get("conditions", ()), *status.get("stages", ()))
        return "; ".join(f"{one.get('reason')}: {one.get('message')}" for one in said)

    def tells(self, cause: Callable[[], object], *words: str) -> None:
        """Waits for the cause and asserts that the run says all words soon after it."""
        eventually(cause, 120)
        began = time.monotonic()
        eventually(lambda: all(word in self.told() for word in words), 60)
        took = time.monotonic() - began
        assert took <= TELL_S, f"told after {took:.1f} s: {self.told()}"

    def until_succeeded(self, timeout_s: float = 600) -> Body:
        """Returns its status once it has Succeeded."""
        place = self.place
        ended = place.installed.until_ended(place.namespace, self.name, self.kind, timeout_s)
        assert ended["phase"] == "Succeeded", ended["conditions"]
        return ended

    def until_failed(self, word: str, timeout_s: float = 60) -> None:
        """Asserts that it fails, with a word in its reason."""
        place = self.place
        ended = place.installed.until_ended(place.namespace, self.name, self.kind, timeout_s)
        assert ended["phase"] == "Failed", ended["conditions"]
        assert word in ended["conditions"][0]["message"]

    def edit(self, **spec: Any) -> None:
        """Changes fields of its spec."""
        patch = json.dumps({"spec": spec})
        self.place.kubectl("patch", self.kind, self.name, "--type=merge", "-p", patch)


def manifests(installed: Installation, namespace: str, kind: str) -> list[Manifest]:
    """Returns what the stages of a kind published in a namespace, as the operator can read it."""
    program = (
        f"for entry in store.entries('{namespace}/artifacts/{kind}-'):\n"
        "    if entry.key.endswith('/manifest.json'):\n"
        "        print(store.read(entry.key, 1 << 20).decode())\n"
    )
    lines = _with_the_store(installed, program)
    return [Manifest.model_validate_json(line) for line in lines]


def leaks_in_the_store(installed: Installation, namespace: str, secrets: set[str]) -> list[str]:
    """Returns which objects of a namespace in the store have a secret in them."""
    program = (
        "import sys\n"
        "secrets = sys.stdin.buffer.read().split()\n"
        f"for entry in store.entries('{namespace}/'):\n"
        "    data = store.read(entry.key, 1 << 26)\n"
        "    if any(secret in data for secret in secrets):\n"
        "        print(entry.key)\n"
    )
    return _with_the_store(installed, program, "\n".join(secrets))


def _with_the_store(installed: Installation, program: str, input_text: str = "") -> list[str]:
    """Runs a program with the operator's store in the operator's pod; returns the lines it prints."""
    opened = (
        "import os\n"
        "from autodidact_store import open_store\n"
        "store = open_store(os.environ['AUTODIDACT_STORE'], os.environ)\n"
    )
    command = ("exec", "--stdin", f"deployment/{DEPLOYMENT}", "--", "python", "-c")
    text = installed.cluster.kubectl(
        "-n", SYSTEM, *command, opened + program, input_text=input_text
    )
    return text.splitlines()
