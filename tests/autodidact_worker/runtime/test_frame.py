"""The frame: publishing once, stopping, last words, progress, and running by hand."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.artifacts import MANIFEST, Manifest
from autodidact_contract.records import Instruction, Pair
from autodidact_contract.stages.registry import SAMPLING
from autodidact_contract.task import Input, Progress, Result, StageTask
from autodidact_store import CorruptError, NotFoundError, StoreUnavailableError
from autodidact_worker import __main__, process
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.runtime import frame, progress, rows
from autodidact_worker.runtime.errors import StoppedError, UserError
from autodidact_worker.stages import build_pairs
from support import warm
from support.sampling_stages import (
    KINDS,
    REPLIES,
    judge_config,
    judged,
    pairs_config,
    parts,
    prompt_parts,
)
from support.worker import NAMESPACE


@pytest.fixture
def pairs(bench: Any) -> StageTask:
    """A small stage without a model."""
    values = [judged(0, 0, 5.0), judged(0, 1, 1.0)]
    given = bench.put("judge", parts("judged", values))
    return StageTask(name="build-pairs-1", config=pairs_config(), inputs={"judged": given})


@pytest.fixture
def environ(bench: Any, pairs: StageTask, tmp_path: Path) -> dict[str, str]:
    """What a Job's container sees."""
    return {
        "AUTODIDACT_TASK": json.dumps(bench.task(pairs).dump()),
        "AUTODIDACT_STORE": bench.uri,
        "AUTODIDACT_SCRATCH": str(tmp_path / "scratch"),
        "TERMINATION_LOG": str(tmp_path / "result.json"),
    }


@pytest.fixture(autouse=True)
def keep_signals_and_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run from the environment takes SIGTERM over and hides DeepSpeed; both end with the test."""
    monkeypatch.setattr(process, "_hide_deepspeed", lambda *_: None)
    monkeypatch.setattr(frame, "POLL_S", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def last_words(environ: dict[str, str]) -> Result:
    """The termination message."""
    return Result.model_validate_json(Path(environ["TERMINATION_LOG"]).read_bytes())


def test_a_task_is_published_and_named_in_the_result(bench: Any, environ: dict[str, str]) -> None:
    """Exit code 0 comes with the key of every stage, and the artifact exists."""
    assert process.run_from_environment(environ) == 0
    key = last_words(environ).published["build-pairs-1"]
    found = bench.find("build-pairs", key)
    assert found.counts["pairs"] == 1
    assert set(found.seconds) == {"wait", "load", "fetch", "work"}


def test_what_is_published_is_not_made_again(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run returns the same key without running the stage."""
    process.run_from_environment(environ)
    first = last_words(environ)
    monkeypatch.setattr(build_pairs, "run", lambda _: pytest.fail("made again"))
    assert process.run_from_environment(environ) == 0
    assert last_words(environ) == first


def test_another_shard_layout_is_the_same_artifact(
    bench: Any, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one pod published is adopted by a Job of two shards."""
    config, inputs = stages["generate-responses"]
    first = bench.run(config, **inputs)
    monkeypatch.setattr(frame, "call", lambda _: pytest.fail("made again"))
    assert bench.run(config, shards=2, **inputs) == first


@pytest.mark.parametrize("name", KINDS)
def test_manifests_say_what_sampled(name: str, bench: Any, stages: dict[str, Any]) -> None:
    """The engine and its version, of the stages that sample and of no other."""
    config, inputs = stages[name]
    wanted = f"transformers {version('transformers')}" if config.stage in SAMPLING else ""
    assert bench.manifest(bench.run(config, **inputs)).engine == wanted


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_stage_leaves_nothing_and_is_repeated(
    name: str, bench: Any, stages: dict[str, Any]
) -> None:
    """SIGKILL after the upload but before the manifest: no artifact; the next run publishes it."""
    config, inputs = stages[name]
    task = bench.task(StageTask(name="stage", config=config, inputs=inputs))
    child = os.fork()
    if child == 0:
        type(bench.store).create = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        try:
            frame.run_task(task, bench.worker("killed"))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left = [entry.key for entry in bench.store.entries(f"tests/artifacts/{config.stage}-")]
    own = [key for key in left if "/0-of-1/" in key]
    keys = frame.run_task(task, bench.worker())
    assert [key for key in own if keys["stage"] in key]
    assert f"tests/artifacts/{config.stage}-{keys['stage']}/0-of-1/{MANIFEST}" not in own
    assert bench.find(config.stage, keys["stage"]) is not None


def test_stages_of_one_task_share_a_model_and_wait_for_their_siblings(
    bench: Any, llama: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """Two shards that each reply and then judge give what separate Jobs give."""
    model = bench.put("import", llama)
    asked = bench.put("generate-prompts", prompt_parts())
    fused = bench.task(
        StageTask(name="r-1", config=REPLIES, inputs={"model": model, "prompts": asked}),
        StageTask(
            name="j-1",
            config=judge_config(),
            inputs={"model": model, "responses": Input(stage="r-1")},
        ),
        shards=2,
    )
    environ |= {"AUTODIDACT_TASK": json.dumps(fused.dump())}
    shards = [
        warm.start(
            environ
            | {"JOB_COMPLETION_INDEX": str(shard), "AUTODIDACT_SCRATCH": str(tmp_path / str(shard))}
        )
        for shard in range(2)
    ]
    for shard in shards:
        shard.join(60)
    assert [shard.exitcode for shard in shards] == [0, 0]
    keys = last_words(environ).published
    together = bench.input("judge", keys["j-1"])
    alone = bench.run(
        judge_config(), model=model, responses=bench.input("generate-responses", keys["r-1"])
    )
    assert together == alone
    assert bench.result(together).shards == 2


def test_only_rank_zero_publishes(bench: Any, pairs: StageTask) -> None:
    """The other ranks of a distributed stage do the work and leave no trace in the store."""
    task = bench.task(pairs)
    keys = frame.run_task(task, bench.worker("rank-1", rank=1))
    assert bench.find("build-pairs", keys["build-pairs-1"]) is None
    frame.run_task(task, bench.worker("rank-0"))
    assert bench.find("build-pairs", keys["build-pairs-1"]) is not None


def test_local_ranks_read_what_the_first_one_fetched(bench: Any, pairs: StageTask) -> None:
    """One copy of the inputs a node: local rank 1 waits for local rank 0."""
    task = bench.task(pairs)
    second = threading.Thread(
        target=frame.run_task,
        args=(task, bench.worker("node", rank=1, local_rank=1)),
        daemon=True,
    )
    second.start()
    frame.run_task(task, bench.worker("node"))
    second.join(30)
    assert not second.is_alive()


@pytest.mark.parametrize(("shard", "shards"), [(0, 2), (1, 1)])
def test_a_wrong_layout_is_refused(bench: Any, pairs: StageTask, shard: int, shards: int) -> None:
    """A stage that cannot be split, and a shard that does not exist."""
    with pytest.raises(UserError, match=r"cannot be split|not one of"):
        frame.run_task(bench.task(pairs, shards=shards), bench.worker(shard=shard))


def test_inputs_are_checked_against_their_digest(bench: Any, pairs: StageTask) -> None:
    """An input whose bytes are not those the task names is not worked on."""
    given = pairs.inputs["judged"].model_copy(update={"digest": "0" * 64})
    wrong = pairs.model_copy(update={"inputs": {"judged": given}})
    with pytest.raises(CorruptError):
        frame.run_task(bench.task(wrong), bench.worker())


def fails(error: Exception) -> Callable[[], dict[str, str]]:
    """Work that raises."""

    def work() -> dict[str, str]:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "exit_code", "code", "reason"),
    [
        (UserError("InvalidData", "x"), 64, "user", "InvalidData"),
        (StoppedError(), 143, "stopped", "Stopped"),
        (StoreUnavailableError("x"), 75, "retry", "StoreUnavailableError"),
        (NotFoundError("x"), 64, "user", "NotFoundError"),
        (RuntimeError("out of memory"), 75, "retry", "RuntimeError"),
        (OSError(28, "No space left on device"), 75, "retry", "OSError"),
    ],
)
def test_every_error_has_its_exit_code(
    error: Exception, exit_code: int, code: str, reason: str
) -> None:
    """64 for the user, 143 for a stop, 75 for everything that another attempt may cure."""
    found, result = process.guarded(fails(error))
    assert found == exit_code
    assert result.failure is not None
    assert (result.failure.code, result.failure.reason) == (code, reason)


@pytest.mark.parametrize("ending", ["return {}", "raise RuntimeError"])
def test_an_engine_ends_with_the_work(ending: str) -> None:
    """Python waits for processes that an engine has left behind: the worker would never end."""
    program = f"""
import multiprocessing, sys, tempfile, time, weakref
from pathlib import Path
from autodidact_worker import process
from autodidact_worker.models import loading

class Engine:
    def __init__(self, path):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        weakref.finalize(self, child.kill)

def work():
    with tempfile.TemporaryDirectory():
        engine = loading.keep(Path("model"), Engine)
        {ending}

sys.exit(process.guarded(work)[0])
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == (0 if "return" in ending else 75)


def test_the_failing_stage_is_named(
    bench: Any, environ: dict[str, str], pairs: StageTask, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a Job's stages the second fails: last words and log name it, the first is published."""
    broken = bench.put("judge", {"judged-00000.jsonl": b"no JSON\n"})
    second = StageTask(name="build-pairs-2", config=pairs_config(), inputs={"judged": broken})
    task = json.dumps(bench.task(pairs, second).dump())
    assert process.run_from_environment(environ | {"AUTODIDACT_TASK": task}) == 64
    failure = last_words(environ).failure
    assert failure is not None
    assert (failure.stage, failure.reason) == ("build-pairs-2", "InvalidData")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if " failed code=" in line)
    assert "stage=build-pairs-2" in line
    assert list(bench.store.entries(f"{NAMESPACE}/artifacts/build-pairs"))


def test_last_words_fit_a_termination_message(tmp_path: Path) -> None:
    """A message of a hundred kilobytes is cut to a whole JSON object of at most 4096 bytes."""
    _, result = process.guarded(fails(UserError("InvalidData", "\u00e4" * 100_000)))
    process._last_words(str(tmp_path / "words"), result)
    data = (tmp_path / "words").read_bytes()
    assert 2000 < len(data) <= 4096
    failure = Result.model_validate_json(data).failure
    assert failure is not None
    assert failure.message.endswith("\u2026")


def test_the_first_failing_rank_has_the_last_word(environ: dict[str, str]) -> None:
    """Other ranks of the pod fail because of it, and must not hide the cause."""
    ranks = environ | {"RANK": "1", "AUTODIDACT_TASK": "{}"}
    path = Path(environ["TERMINATION_LOG"])
    path.touch()
    process.run_from_environment(ranks)
    first = path.read_bytes()
    assert last_words(environ).failure is not None
    assert process.run_from_environment(environ | {"RANK": "0", "AUTODIDACT_STORE": ""}) == 64
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("name", "value"),
    [("AUTODIDACT_TASK", "{}"), ("AUTODIDACT_TASK", ""), ("AUTODIDACT_STORE", "")],
)
def test_a_bad_environment_is_never_success(environ: dict[str, str], name: str, value: str) -> None:
    """Without a task or a store the worker says what is missing and exits 64."""
    assert process.run_from_environment(environ | {name: value}) == 64
    failure = last_words(environ).failure
    assert failure is not None
    assert name in failure.message


def test_sigterm_stops_sampling_at_the_next_batch(
    bench: Any,
    stages: dict[str, Any],
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process exits 143, says it was stopped, and publishes nothing."""
    config, inputs = stages["generate-responses"]
    task = bench.task(StageTask(name="stage", config=config, inputs=inputs))
    batches = []
    sample = TransformersGenerator._sample

    def interrupted(*arguments: Any) -> Any:
        batches.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        return sample(*arguments)

    monkeypatch.setattr(TransformersGenerator, "_sample", interrupted)
    code = process.run_from_environment(environ | {"AUTODIDACT_TASK": json.dumps(task.dump())})
    assert code == 143
    assert len(batches) == 1
    failure = last_words(environ).failure
    assert failure is not None
    assert failure.code == "stopped"


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


def test_progress_without_a_cluster_goes_to_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    """The local mode follows a file of JSON lines."""
    path = tmp_path / "progress.jsonl"
    process.run_from_environment(environ | {"AUTODIDACT_PROGRESS_FILE": str(path)})
    assert progress.read(path)[-1] == Progress(stage="build-pairs-1", step=1, total=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prompt": "a", "response": "b"}\n{"prompt"\n', r"rows.jsonl line 2: .*JSON"),
        (b'{"prompt": "a"}\n', "rows.jsonl line 1: response: Field required"),
        (b'\n{"prompt": "a", "response": "", "x": 1}\n', "rows.jsonl line 2: response: "),
        (b"", "rows.jsonl has no rows"),
        (b"\xff\n", "rows.jsonl line 1: "),
        (None, "rows.jsonl is missing"),
    ],
)
def test_bad_rows_name_file_and_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    """Whoever wrote the data can find the place."""
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        rows.read(path, Instruction)


def test_text_survives_rows_unchanged(tmp_path: Path) -> None:
    """Line separators, surrogate pairs, white space and braces come back as they were."""
    text = " a\u2028b\u0085c\r\n\t{x} \U0001f600 \\u0041 "
    rows.write(tmp_path / "f", [Instruction(prompt=text, response=text)])
    assert rows.read(tmp_path / "f", Instruction)[0].prompt == text


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    """Parts are numbered from zero without gaps."""
    (tmp_path / "x-00001.jsonl").touch()
    with pytest.raises(UserError, match=r"x-00000\.jsonl"):
        rows.parts(tmp_path, "x")


def test_a_stage_runs_by_hand(tmp_path: Path) -> None:
    """Folders in, a folder out, with the manifest beside the files; errors have their exit code."""
    source, out = tmp_path / "judged", tmp_path / "out"
    source.mkdir()
    rows.write(source / "judged-00000.jsonl", [judged(0, 0, 5.0), judged(0, 1, 1.0)])
    config = tmp_path / "config.yaml"
    config.write_text("{tieBreak: random, minScoreGap: 0, excludeTruncated: true}")
    line = ["build-pairs", "--config", str(config), "--input", f"judged={source}"]
    assert __main__.main([*line, "--out", str(out)]) == 0
    assert len(rows.read(out / "pairs-00000.jsonl", Pair)) == 1
    manifest = Manifest.model_validate_json((out / MANIFEST).read_bytes())
    assert manifest.counts["pairs"] == 1
    assert [file.path for file in manifest.files] == ["pairs-00000.jsonl"]
    assert __main__.main([*line, "--out", str(out)]) == 64
    assert __main__.main([*line[:-1], "judged=/nowhere", "--out", str(tmp_path / "o")]) == 64
    config.write_text("{tieBreak: never}")
    assert __main__.main([*line, "--out", str(tmp_path / "o")]) == 64


def test_help_imports_nothing_heavy() -> None:
    """The help text answers at once: no pydantic, no torch."""
    code = (
        "import sys; from autodidact_worker import __main__ as m; m.parser().format_help();"
        "assert not {'torch', 'pydantic', 'minio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
