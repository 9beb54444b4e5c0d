"""A process node in a process of its own, as the tests see it."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tools.cluster import faults
from tools.cluster.node_settings import NodeSettings
from tools.cluster.outcomes import Outcome
from tools.cluster.processes import Keeper, Process
from tools.paths import TESTS

if TYPE_CHECKING:
    from tools.cluster.control_plane import Cluster

_START_TIMEOUT_S = 60.0


class NodeProcess:
    """A handle on a node; `Cluster.add_node` makes it.

    Attributes:
        name: The Node's name.
        settings: What it was told.
        directory: Its files.
    """

    def __init__(self, cluster: "Cluster", keeper: Keeper, settings: NodeSettings) -> None:
        self._cluster = cluster
        self._keeper = keeper
        self.settings = settings
        self.name = settings.name
        self.directory = cluster.directory / "nodes" / settings.name
        self._process: Process | None = None
        self._files = self._write_files()

    def start(self) -> None:
        """Start the node, also again after `stop` or `kill`; return when it is Ready."""
        command = [sys.executable, "-m", "tools.cluster", "node"]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(TESTS),
            "HOME": str(self.directory),
        }
        self._process = self._keeper.start(
            f"node-{self.name}", [*command, *self._files], environment, grace_s=5.0
        )
        self._process.wait_until(self._is_ready, _START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop the node; its pods' processes die, their objects stay as they are."""
        self._end(None)

    def kill(self) -> None:
        """End the node and its pods' processes at once, as a power cut would."""
        self._end(0.0)

    def drop(self) -> None:
        """Kill the node and remove its Node, as a cloud does; its pods are then collected."""
        self.kill()
        self._cluster.kubectl("delete", "node", self.name, "--wait=false")

    def script(self, labels: Mapping[str, str], outcome: Outcome, times: int = 1) -> None:
        """Let the next containers of pods with these labels end as told, without running."""
        faults.leave(self.directory, labels, outcome, times)

    @property
    def log(self) -> Path:
        """The node's own log."""
        return self._keeper.directory / f"node-{self.name}.log"

    def _end(self, grace_s: float | None) -> None:
        if self._process is not None:
            self._process.stop(grace_s)
            self._process = None

    def _write_files(self) -> list[str]:
        self.directory.mkdir(parents=True, exist_ok=True)
        user, file_name = f"system:node:{self.name}", f"node-{self.name}"
        config = self._cluster.write_kubeconfig(file_name, user, "system:nodes")
        serving = self._cluster.issue_certificate(f"{file_name}-serving", user, "system:nodes")
        return [
            f"--kubeconfig={config}",
            f"--directory={self.directory}",
            f"--settings={self.settings.to_json()}",
            f"--authority={self._cluster.certificate_authority}",
            f"--certificate={serving.certificate}",
            f"--key={serving.key}",
        ]

    def _is_ready(self) -> bool:
        text = self._cluster.kubectl(
            "get", "node", self.name, "--ignore-not-found", "--output=json"
        )
        if not text:
            return False
        node = json.loads(text)
        conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")
