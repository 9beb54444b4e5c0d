"""A cluster that outlives the command which started it: `up --detach`, `down`, `status`.

What is known of it is one file under `${XDG_STATE_HOME:-~/.local/state}/autodidact/`.
"""

import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from tools.cluster import tools
from tools.cluster.control_plane import Cluster
from tools.cluster.processes import ProcessError, log_tail
from tools.cluster.waiting import eventually

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running `up` command.

    Attributes:
        pid: Its process id.
        created: When that process was created, for ids are used again.
        directory: The cluster's directory.
        variables: What a shell needs to use the cluster.
    """

    pid: int
    created: float
    directory: str
    variables: dict[str, str]

    @classmethod
    def of(cls, cluster: Cluster) -> Self:
        """Return the description of a cluster of this process."""
        programs = {str(cluster.tool(name).parent) for name in ("kubectl", "helm")}
        return cls(
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            directory=str(cluster.directory),
            variables={
                **cluster.environment,
                "PATH": ":".join([*sorted(programs), "$PATH"]),
                "MINIO_ENDPOINT": cluster.minio.url,
                "MINIO_ROOT_USER": cluster.minio.access_key,
                "MINIO_ROOT_PASSWORD": cluster.minio.secret_key,
            },
        )

    def exports(self) -> str:
        """Return lines for a shell's `eval`."""
        return "\n".join(f"export {name}={_quoted(v)}" for name, v in self.variables.items())

    def is_alive(self) -> bool:
        """Return whether the process still is the one that wrote this."""
        try:
            return bool(psutil.Process(self.pid).create_time() == self.created)
        except psutil.NoSuchProcess:
            return False


def place(name: str) -> Path:
    """Return the directory of a named cluster's state."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "autodidact" / "clusters" / name


def remember(name: str, running: Running) -> None:
    """Write down a running cluster."""
    path = place(name) / "cluster.json"
    scratch = path.with_suffix(".new")
    scratch.touch(mode=0o600)
    scratch.write_text(json.dumps(dataclasses.asdict(running)))
    scratch.rename(path)


def forget(name: str) -> None:
    """Remove what was written down."""
    (place(name) / "cluster.json").unlink(missing_ok=True)


def recall(name: str) -> Running | None:
    """Return the named cluster if it runs."""
    try:
        text = (place(name) / "cluster.json").read_text()
    except FileNotFoundError:
        return None
    running = Running(**json.loads(text))
    return running if running.is_alive() else None


def start(name: str, arguments: list[str]) -> Running:
    """Run `up` in the background; return when the cluster is ready.

    Raises:
        ProcessError: If it does not become ready; the message holds the end of its log.
    """
    tools.build_all()
    place(name).mkdir(mode=0o700, parents=True, exist_ok=True)
    log = place(name) / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.cluster", "up", "--name", name, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    eventually(lambda: process.poll() is not None or recall(name), _START_TIMEOUT_S)
    running = recall(name)
    if running is None:
        raise ProcessError(f"the cluster did not start:\n{log_tail(log)}")
    return running


def stop(name: str) -> bool:
    """End the named cluster; return False if there is none."""
    running = recall(name)
    if running is None:
        return False
    os.kill(running.pid, signal.SIGTERM)
    try:
        eventually(lambda: not running.is_alive(), _STOP_TIMEOUT_S)
    except TimeoutError:
        os.kill(running.pid, signal.SIGKILL)
    shutil.rmtree(place(name), ignore_errors=True)
    return True


def _quoted(value: str) -> str:
    path, _, rest = value.rpartition("$PATH")
    return f"{shlex.quote(path)}$PATH" if rest == "" and path else shlex.quote(value)
