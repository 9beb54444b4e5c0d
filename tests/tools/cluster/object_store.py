"""S3 servers as processes, each on a port of its own that it keeps when it is stopped and started.

MinIO is the reference. versitygw, which keeps objects as plain files, is another one that knows
nothing of STS: what passes on both rests on nothing but S3 with conditional writes.
"""

import os
import secrets
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError
from urllib.request import urlopen

from tools.cluster import tools
from tools.cluster.processes import Keeper, Process, free_ports


class S3Server:
    """One server with random root credentials.

    Attributes:
        name: Of its program, process and directory.
        health: Path that answers 200 once it serves.
        endpoint: Host and port, as minio-py wants them.
        url: The same as an http URL.
    """

    name: ClassVar[str]
    health: ClassVar[str]

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._data = keeper.directory / self.name
        self._process: Process | None = None
        self.access_key = f"root-{secrets.token_hex(4)}"
        self.secret_key = secrets.token_hex(20)
        self.choose_port()

    def choose_port(self) -> None:
        """Take another port; only for a server that has not been used yet."""
        (self._port,) = free_ports(1)
        self.endpoint = f"127.0.0.1:{self._port}"
        self.url = f"http://{self.endpoint}"

    def start(self) -> None:
        """Start the server with the data it had; return when it answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the server without waiting for it."""
        self._data.mkdir(exist_ok=True)
        environment = {"HOME": str(self._data.parent), "PATH": os.defpath, **self.environment()}
        self._process = self._keeper.start(
            self.name, [tools.find(self.name), *self.arguments()], environment, grace_s=5.0
        )

    def arguments(self) -> list[str]:
        """Return what the program is told."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return the program's own variables, its credentials among them."""
        raise NotImplementedError

    def wait_until_ready(self) -> None:
        """Return when the server can serve requests."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        self._process.wait_until(self._is_ready)

    def stop(self) -> None:
        """Stop the server as an operator would; its data and port stay."""
        self._end(None)

    def kill(self) -> None:
        """Stop the server as a power cut would; its data and port stay."""
        self._end(0.0)

    def _end(self, grace_s: float | None) -> None:
        if self._process is not None:
            self._process.stop(grace_s)
            self._process = None

    def _is_ready(self) -> bool:
        try:
            # The URL is our own.
            with urlopen(f"{self.url}{self.health}", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (URLError, HTTPException, OSError):
            return False

    @property
    def data_directory(self) -> Path:
        """Where the server keeps its objects."""
        return self._data


class ObjectStore(S3Server):
    """MinIO."""

    name = "minio"
    health = "/minio/health/cluster"

    def arguments(self) -> list[str]:
        """Return what the program is told."""
        # Two servers that start at once must not fight for a console port: there is no console.
        return ["server", "--quiet", "--address", self.endpoint, str(self._data)]

    def environment(self) -> Mapping[str, str]:
        """Return the program's own variables, its credentials among them."""
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }


class VersityGateway(S3Server):
    """versitygw over a directory; it may lie on any file system, tmpfs too."""

    name = "versitygw"
    health = "/health"

    def arguments(self) -> list[str]:
        """Return what the program is told."""
        # The sidecar holds what it would else write into extended attributes.
        sidecar = self._data.with_name("sidecar")
        sidecar.mkdir(exist_ok=True)
        common = ["--port", self.endpoint, "--health", self.health, "--quiet"]
        return [*common, "posix", "--sidecar", str(sidecar), str(self._data)]

    def environment(self) -> Mapping[str, str]:
        """Return the program's own variables, its credentials among them."""
        return {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
