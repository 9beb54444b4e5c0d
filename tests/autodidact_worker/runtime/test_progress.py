import http.server
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.task import Progress
from autodidact_worker.runtime import progress

pytestmark = pytest.mark.usefixtures("keep_signals_and_modules")


class Sink:
    """Receives reports, and fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.calls = 0
        self.failures = failures

    def __call__(self, body: bytes) -> None:
        """Takes a report."""
        self.calls += 1
        if self.calls <= self.failures:
            raise OSError("no route to host")
        self.bodies.append(json.loads(body))


def report(reporter: progress.Reporter, steps: int) -> None:
    """Reports many steps at once."""
    for step in range(1, steps + 1):
        reporter.report(Progress(stage="s", step=step, total=steps))


def test_reports_are_thinned_and_the_last_one_arrives() -> None:
    """A thousand steps in a moment are two reports at most, and the end is among them."""
    sink = Sink()
    with progress.Reporter(sink, interval_s=60) as reporter:
        report(reporter, 1000)
    assert len(sink.bodies) <= 2
    assert sink.bodies[-1] == {"stage": "s", "step": 1000, "total": 1000, "metrics": {}}


def test_progress_cannot_break_a_stage(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens: one warning, no exception, and later reports are still tried."""
    sink = Sink(failures=3)
    with progress.Reporter(sink, interval_s=0.001) as reporter:
        while not sink.bodies:
            report(reporter, 5)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1


def test_odd_metrics_are_left_out() -> None:
    """What JSON cannot carry is not reported."""
    found = progress.finite({"a": 1, "b": float("nan"), "c": float("inf"), "d": -2.5})
    assert found == {"a": 1.0, "d": -2.5}


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("0", 0.1), ("often", 2.0)])
def test_the_interval_of_reports_is_a_setting(text: str, seconds: float) -> None:
    """Nonsense in the environment is the default: reporting can never break a stage."""
    assert progress.interval({"AUTODIDACT_PROGRESS_INTERVAL": text}) == seconds


def test_reports_are_posted_with_a_fresh_token(tmp_path: Path) -> None:
    """The token file is read for each report, since it is replaced while the stage runs."""
    seen: list[tuple[str | None, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.headers["Authorization"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    token = tmp_path / "token"
    send = progress.poster(f"http://127.0.0.1:{server.server_port}/progress", token)
    for text in ("one\n", "two\n"):
        token.write_text(text)
        send(b"{}")
    server.shutdown()
    server.server_close()
    assert seen == [("Bearer one", b"{}"), ("Bearer two", b"{}")]


def test_only_http_is_posted_to() -> None:
    """A file URL in the environment reads no file."""
    with pytest.raises(ValueError, match="http"):
        progress.poster("file:///etc/passwd", None)
