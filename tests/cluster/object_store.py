"""MinIO as a process, on a port of its own that it keeps when it is stopped and started."""

import os
import secrets
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from cluster import tools
from cluster.processes import Keeper, Process, free_ports

PROCESS_NAME = "minio"


class ObjectStore:
    """One MinIO server with random root credentials.

    Attributes:
        endpoint: Host and port, as minio-py wants them.
        url: The same as an http URL.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._data = keeper.directory / "minio"
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
        # Two servers that start at once must not fight for a console port: there is no console.
        command: list[str | Path] = [
            tools.find("minio"),
            "server",
            "--quiet",
            "--address",
            self.endpoint,
        ]
        environment = {
            "HOME": str(self._data.parent),
            "PATH": os.defpath,
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        self._process = self._keeper.start(
            PROCESS_NAME, [*command, self._data], environment, grace_s=5.0
        )

    def wait_until_ready(self) -> None:
        """Return when the server can serve requests."""
        if self._process is None:
            raise RuntimeError("MinIO was not started")
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
            with urlopen(f"{self.url}/minio/health/cluster", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (URLError, HTTPException, OSError):
            return False

    @property
    def data_directory(self) -> Path:
        """Where the server keeps its objects."""
        return self._data
