"""A hub of Hugging Face with one repository, as far as an import asks it."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "1" * 40


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/"):
            files = [f for f in sorted(self.folder.rglob("*")) if f.is_file()]
            siblings = [
                {"rfilename": str(f.relative_to(self.folder)), "size": f.stat().st_size}
                for f in files
            ]
            name = path.removeprefix("/api/").partition("/")[2].partition("/revision")[0]
            data = json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
        else:
            name = path.partition(f"/resolve/{COMMIT}/")[2]
            data = (self.folder / name).read_bytes()
            if body:
                self.asked.append(name)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields the URL of a hub whose only repository has a folder's files, and what was fetched."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"folder": folder, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
