"""One container as a host process: starting it, signalling it, how it ended."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import shim
from tools.cluster.outcomes import LONGEST_MESSAGE, Ending, ending, timestamp

_SHIM = Path(shim.__file__)
_FALLBACK_BYTES = 2048
_FALLBACK_LINES = 80
_NOT_STARTED = 128


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Everything needed to run a container once."""

    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    message_file: Path
    message_from_log: bool


class ContainerProcess:
    """A running container, or one that could not be started."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._process: asyncio.subprocess.Process | None = None
        self.started_at = timestamp()

    async def start(self) -> None:
        """Start the command under a shim that ends all it leaves behind."""
        launch = self._launch
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        launch.message_file.parent.mkdir(parents=True, exist_ok=True)
        launch.message_file.write_bytes(b"")
        if self._executable() is None:
            launch.log.touch()
            return
        with launch.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_SHIM), *launch.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env={**launch.environment, "CLUSTER_STARTER": str(os.getpid())},
                cwd=launch.directory,
                start_new_session=True,
            )

    async def wait(self) -> Ending:
        """Return how the container ended, when it has."""
        if self._process is None:
            name = self._launch.command[0]
            message = f'exec: "{name}": executable file not found in $PATH'
            return ending(_NOT_STARTED, self.started_at, message=message, reason="StartError")
        code = await self._process.wait()
        if code < 0:
            code = 128 - code
        return ending(code, self.started_at, message=self._message(code))

    def terminate(self) -> None:
        """Ask the command to end, as the kubelet does first."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the command and everything it started."""
        self._signal(shim.PARENT_DIED)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def _executable(self) -> str | None:
        path = self._launch.environment.get("PATH", os.defpath)
        name = self._launch.command[0]
        if "/" in name:
            name = str(self._launch.directory / name)
        return shutil.which(name, path=path)

    def _message(self, exit_code: int) -> str:
        text = _tail(self._launch.message_file, LONGEST_MESSAGE)
        if text or exit_code == 0 or not self._launch.message_from_log:
            return text
        lines = _tail(self._launch.log, _FALLBACK_BYTES).splitlines(keepends=True)
        return "".join(lines[-_FALLBACK_LINES:])


def _tail(path: Path, length: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - length))
            return file.read(length).decode(errors="replace")
    except OSError:
        return ""
