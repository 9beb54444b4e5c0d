"""Servers with OpenAI's completions API: one that says what a test wants, and transformers' own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tools.cluster.waiting import eventually

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, what is sent as JSON, or as it is if it is bytes, and headers; status 0: no answer."""

ELSEWHERE = {"Location": "http://127.0.0.1:1/elsewhere"}
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass
class Scripted:
    """A server whose answers are a test's.

    Attributes:
        url: Its base.
        models: What it lists.
        reply: Answers a request for a completion.
        asked: Bodies of these requests, in the order they came.
        headers: Of every request.
        paths: Of every request.
    """

    url: str
    models: Answer
    reply: Callable[[dict[str, Any]], Answer]
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def listing(*names: str, **more: Any) -> Answer:
    """A list of models."""
    return 200, {"object": "list", "data": [{"id": name, **more} for name in names]}


def completion(model: str, text: str = "abc", **choice: Any) -> tuple[int, dict[str, Any]]:
    """A completion that ended by itself."""
    found = {"index": 0, "text": text, "finish_reason": "stop", **choice}
    return 200, {"model": model, "choices": [found]}


def said(text: str | None, finish: str = "stop") -> Answer:
    """A chat completion."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, {"choices": [choice]}


@contextmanager
def scripted(model: str) -> Iterator[Scripted]:
    """A server of one model, until a test changes what it says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._note()
            self._send(*(script.models if self.path == "/v1/models" else (404, {})))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._note()
            script.asked.append(body)
            self._send(*script.reply(body))

        def _note(self) -> None:
            script.headers.append(dict(self.headers))
            script.paths.append(self.path)

        def _send(self, status: int, value: Any, headers: Mapping[str, str] = NONE) -> None:
            if not status:
                self.close_connection = True
                return
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        script = Scripted(
            url=f"http://127.0.0.1:{server.server_port}/v1",
            models=listing(model),
            reply=lambda _: completion(model),
        )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield script
        server.shutdown()


@contextmanager
def transformers_serve(folder: Path, models: dict[str, Path]) -> Iterator[str]:
    """Runs ``transformers serve`` as a process, on the CPU in float32, and yields its base URL.

    Args:
        folder: Empty; for its cache and its log.
        models: Folders by the name they are served under, as if downloaded from the hub; it lists
            those that are there when it is first asked, and no later ones.
    """
    for name, model in models.items():
        place = folder / "hub" / f"models--{name}"
        shutil.copytree(model, place / "snapshots" / ("0" * 40))
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("0" * 40)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve"]
    options = {"host": "127.0.0.1", "port": str(port), "device": "cpu", "dtype": "float32"}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    environment = {**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, *flags], env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            health = f"http://127.0.0.1:{port}/health"
            eventually(lambda: _answers(process, health, folder / "log"), timeout_s=180)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"transformers serve has ended:\n{log.read_text()}")
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - ours
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
