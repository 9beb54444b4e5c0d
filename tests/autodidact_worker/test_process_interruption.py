"""Real signals to real training processes: what is saved, what is seen, and what comes of it."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.task import EXIT_PUBLISHED, EXIT_STOPPED, Result, StageTask
from support import chain, online_stages, warm
from support.training_rows import INSTRUCTIONS, PAIRS
from support.worker import NAMESPACE, Bench

pytestmark = pytest.mark.thorough

# Long enough to be met in the middle.
SMALL = {"epochs": 80, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0}


class Watchman(ThreadingHTTPServer):
    """Takes in progress reports, and calls back at the first that is far enough."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.after = 0
        self.reached = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where workers report."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Watchman

    def do_POST(self) -> None:
        """Looks how far the worker is."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.after and body["step"] >= self.server.after:
            self.server.reached.set()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def watchman() -> Iterator[Watchman]:
    """Where workers report their progress to."""
    server = Watchman()
    yield server
    server.shutdown()
    server.server_close()


def stage(kind: str, bench: Bench, llama: Path) -> StageTask:
    """Returns a small training whose inputs are in the store."""
    model = bench.put("import", llama)
    if kind == "train-sft":
        inputs = {"model": model, "instructions": bench.put_rows(list(INSTRUCTIONS))}
        return StageTask(name=kind, config=chain.sft_config(**SMALL), inputs=inputs)
    if kind == "train-ppo":
        rows = bench.put_rows(list(online_stages.PROBLEMS))
        six = bench.put("import", online_stages.write_model(bench.folder / "six"))
        config = online_stages.ppo_config(epochs=20, validation={"keep": "best"})
        return StageTask(
            name=kind, config=config, inputs={"model": six, "questions": rows, "validation": rows}
        )
    pairs = b"".join(pair.model_dump_json(by_alias=True).encode() + b"\n" for pair in PAIRS)
    inputs = {"model": model, "pairs": bench.put("build-pairs", {"pairs-00000.jsonl": pairs})}
    return StageTask(name=kind, config=chain.dpo_config(**SMALL), inputs=inputs)


def start(bench: Bench, task: StageTask, watchman: Watchman) -> ForkServerProcess:
    """Starts a worker process."""
    token = bench.folder / "token"
    token.write_text("secret")
    environment = {
        "AUTODIDACT_TASK": bench.task(task).model_dump_json(by_alias=True, exclude_none=True),
        "AUTODIDACT_STORE": bench.uri,
        "AUTODIDACT_PROGRESS_URL": watchman.url,
        "AUTODIDACT_PROGRESS_INTERVAL": "0",
        "AUTODIDACT_TOKEN_FILE": str(token),
        "TERMINATION_LOG": str(bench.folder / "termination"),
    }
    return warm.start(environment)


def exit_code(process: ForkServerProcess) -> int | None:
    """Returns the exit code of a process once it has ended."""
    process.join()
    return process.exitcode


def digest_of(bench: Bench, kind: str) -> str:
    """Returns the digest that the last worker published."""
    said = Result.model_validate_json((bench.folder / "termination").read_bytes())
    found = bench.find(kind, said.published[kind])
    assert found is not None
    return found.digest


@pytest.mark.parametrize("kind", ["train-sft", "train-dpo", "train-ppo"])
def test_a_stopped_training_goes_on(
    kind: str, new_bench: Callable[[str], Bench], llama: Path, watchman: Watchman
) -> None:
    """SIGTERM saves and exits 143; the next attempt ends with the bytes of an undisturbed one."""
    quiet = new_bench("quiet")
    assert exit_code(start(quiet, stage(kind, quiet, llama), watchman)) == EXIT_PUBLISHED
    disturbed = new_bench("disturbed")
    task = stage(kind, disturbed, llama)
    checkpoints = f"{NAMESPACE}/checkpoints/"
    watchman.after = 2

    first = start(disturbed, task, watchman)
    assert watchman.reached.wait(timeout=120)
    first.terminate()

    assert exit_code(first) == EXIT_STOPPED
    said = Result.model_validate_json((disturbed.folder / "termination").read_bytes())
    assert said.failure is not None
    assert said.failure.code == "stopped"
    assert list(disturbed.store.entries(checkpoints))
    assert not list(disturbed.store.entries(f"{NAMESPACE}/artifacts/{kind}"))
    assert exit_code(start(disturbed, task, watchman)) == EXIT_PUBLISHED
    assert digest_of(disturbed, kind) == digest_of(quiet, kind)
    assert not list(disturbed.store.entries(checkpoints))


@pytest.mark.parametrize("kind", ["train-sft", "train-dpo"])
def test_a_killed_training_leaves_nothing_half_done(
    kind: str, bench: Bench, llama: Path, watchman: Watchman
) -> None:
    """SIGKILL in the middle publishes nothing, and the next attempt does."""
    task = stage(kind, bench, llama)
    watchman.after = 1

    first = start(bench, task, watchman)
    assert watchman.reached.wait(timeout=120)
    first.kill()

    assert exit_code(first) == -signal.SIGKILL
    assert not list(bench.store.entries(f"{NAMESPACE}/artifacts/{kind}"))
    assert exit_code(start(bench, task, watchman)) == EXIT_PUBLISHED
    assert digest_of(bench, kind)


def test_a_killed_ppo_goes_on_from_its_checkpoint(
    new_bench: Callable[[str], Bench],
    llama: Path,
    watchman: Watchman,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGKILL in the middle of a rollout's steps; the next attempt ends with the same bytes."""
    kind = "train-ppo"
    quiet = new_bench("quiet")
    assert exit_code(start(quiet, stage(kind, quiet, llama), watchman)) == EXIT_PUBLISHED
    monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    disturbed = new_bench("disturbed")
    task = stage(kind, disturbed, llama)
    watchman.after = 10  # of four steps a rollout

    first = start(disturbed, task, watchman)
    assert watchman.reached.wait(timeout=120)
    first.kill()

    assert exit_code(first) == -signal.SIGKILL
    assert list(disturbed.store.entries(f"{NAMESPACE}/checkpoints/"))
    assert exit_code(start(disturbed, task, watchman)) == EXIT_PUBLISHED
    assert digest_of(disturbed, kind) == digest_of(quiet, kind)
