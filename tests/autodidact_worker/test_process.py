import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.artifacts import MANIFEST, Manifest
from autodidact_contract.records import Pair
from autodidact_contract.task import Progress, Result, StageTask
from autodidact_store import NotFoundError, StoreUnavailableError
from autodidact_worker import __main__, process
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.runtime import progress, rows
from autodidact_worker.runtime.errors import StoppedError, UserError
from support.processes import last_words
from support.sampling_stages import (
    judged,
    pairs_config,
)
from support.worker import NAMESPACE

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("keep_signals_and_modules")]


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
    sample = TransformersGenerator.sample

    def interrupted(*arguments: Any) -> Any:
        batches.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        return sample(*arguments)

    monkeypatch.setattr(TransformersGenerator, "sample", interrupted)
    code = process.run_from_environment(environ | {"AUTODIDACT_TASK": json.dumps(task.dump())})
    assert code == 143
    assert len(batches) == 1
    failure = last_words(environ).failure
    assert failure is not None
    assert failure.code == "stopped"


def test_progress_without_a_cluster_goes_to_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    """The local mode follows a file of JSON lines."""
    path = tmp_path / "progress.jsonl"
    process.run_from_environment(environ | {"AUTODIDACT_PROGRESS_FILE": str(path)})
    assert progress.read(path)[-1] == Progress(stage="build-pairs-1", step=1, total=1)


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
