"""A worker process from start to exit code: environment, signals, last words."""

import json
import logging
import os
import signal
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from autodidact_contract import environment
from autodidact_contract import task as contract
from autodidact_contract.artifacts import (
    MANIFEST,
    File,
    Manifest,
    artifact_digest,
    encode,
    fold,
    stage_key,
)
from autodidact_contract.stages import AnyStage
from autodidact_contract.stages.registry import STAGES
from autodidact_contract.task import Failure, Result, Task
from autodidact_store import Store
from autodidact_worker.models import loading
from autodidact_worker.runtime import frame, logs, progress
from autodidact_worker.runtime.errors import StageError, UserError

log = logging.getLogger(__name__)

_EXITS = {
    "user": contract.EXIT_USER,
    "stopped": contract.EXIT_STOPPED,
    "retry": contract.EXIT_RETRY,
}


def run_from_environment(environ: Mapping[str, str] = os.environ) -> int:
    """Runs the task that the environment describes and returns the exit code.

    Read: ``AUTODIDACT_TASK`` (JSON), ``AUTODIDACT_STORE`` (URI), ``JOB_COMPLETION_INDEX``,
    ``AUTODIDACT_SCRATCH``, ``AUTODIDACT_IMAGE``, ``TERMINATION_LOG``, the progress settings of
    ``runtime.progress``, and ``RANK`` and ``LOCAL_RANK`` where torchrun set them.
    """
    logs.configure(environ.get(environment.LOG_LEVEL, "INFO"))
    stopping = _on_sigterm()
    with (
        tempfile.TemporaryDirectory(prefix="autodidact-") as temporary,
        progress.Reporter(_sender(environ), progress.interval(environ)) as reporter,
    ):

        def work() -> dict[str, str]:
            task = _task(environ)
            hide_deepspeed(*(stage.config.stage for stage in task.stages))
            scratch = Path(environ.get(environment.SCRATCH) or temporary)
            scratch.mkdir(parents=True, exist_ok=True)
            worker = frame.Worker(
                store=_store(environ),
                scratch=scratch,
                # Pods of a multi-node Job have an index too, but together they are one shard.
                shard=int(environ.get("JOB_COMPLETION_INDEX", 0)) if task.shards > 1 else 0,
                rank=_rank(environ),
                local_rank=int(environ.get("LOCAL_RANK", 0)),
                image=environ.get(environment.IMAGE, ""),
                reporter=reporter,
                stopping=stopping,
            )
            return frame.run_task(task, worker)

        code, result = guarded(work)
    if _may_speak(environ, result):
        _last_words(environ.get("TERMINATION_LOG"), result)
    return code


def _may_speak(environ: Mapping[str, str], result: Result) -> bool:
    """Returns whether this process writes the pod's last words.

    Success is for rank 0 to report. Of several failing ranks the first one knows the cause; the
    others fail because of it.
    """
    if result.failure is None:
        return _rank(environ) == 0
    path = Path(environ.get("TERMINATION_LOG") or os.devnull)
    return "RANK" not in environ or not (path.is_file() and path.stat().st_size)


def guarded(work: Callable[[], dict[str, str]]) -> tuple[int, Result]:
    """Runs the work and returns the exit code and the result; the one place that catches all."""
    try:
        return contract.EXIT_PUBLISHED, Result(published=work())
    except StageError as error:
        failure = Failure(
            code=error.code, reason=error.reason, message=str(error), stage=logs.stage.get("")
        )
        log.error(  # noqa: TRY400 - the sentence says it all
            "failed code=%s reason=%s: %s", failure.code, failure.reason, failure.message
        )
    except Exception as error:
        # Store errors know whether trying again helps; any other fault is worth a try.
        again = getattr(error, "retry", True)
        failure = Failure(
            code="retry" if again else "user",
            reason=type(error).__name__,
            message=str(error) or type(error).__name__,
            stage=logs.stage.get(""),
        )
        log.exception("failed code=%s reason=%s", failure.code, failure.reason)
    finally:
        # An engine has processes of its own, and Python waits for them before it ends.
        loading.forget()
    return _EXITS[failure.code], Result(failure=failure)


def run_by_hand(options: Namespace) -> int:
    """Runs one stage on local folders and returns the exit code."""
    logs.configure()
    stopping = _on_sigterm()
    logs.stage.set(options.stage)
    code, _ = guarded(lambda: _by_hand(options, stopping))
    return code


def _by_hand(options: Namespace, stopping: Callable[[], bool]) -> dict[str, str]:
    config = _config(options.config, options.stage)
    inputs = dict(_local_input(text) for text in options.input)
    hide_deepspeed(options.stage)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise UserError("InvalidOutput", f"--out {out} is not empty; name a new folder")
    with tempfile.TemporaryDirectory(prefix="autodidact-") as scratch:
        context = frame.Context(
            config=config,
            inputs=inputs,
            out=out,
            shard=options.shard,
            shards=options.shards,
            progress=frame.reporting_progress(options.stage, progress.Reporter(None)),
            stopping=stopping,
            scratch=Path(scratch),
            run_kind=options.run_kind,
        )
        output = frame.call(context)
    digests = {name: given.digest for name, given in inputs.items()}
    key = stage_key(config.dump(), digests)
    place = {"shard": options.shard, "shards": options.shards}
    draft = frame.draft(config, key, digests, output, place, {}, "")
    manifest = draft.model_copy(update={"files": _local_files(out) + output.external})
    (out / MANIFEST).write_bytes(encode(manifest))
    log.info("done files=%d counts=%s", len(manifest.files), json.dumps(dict(output.counts)))
    return {options.stage: key}


def _config(path: Path, stage: str) -> AnyStage:
    try:
        value = yaml.safe_load(path.read_text())
        config: AnyStage = TypeAdapter(AnyStage).validate_python({**(value or {}), "stage": stage})
    except (OSError, yaml.YAMLError, ValidationError, TypeError) as error:
        raise UserError("InvalidConfig", f"--config {path} for {stage}: {error}") from error
    return config


def _local_input(text: str) -> tuple[str, frame.InputArtifact]:
    name, _, folder = text.partition("=")
    path = Path(folder)
    if not name or not folder or not path.is_dir():
        raise UserError("InvalidInput", f"--input {text}: give NAME=DIR with an existing folder")
    known = path / MANIFEST
    if not known.exists():
        return name, frame.InputArtifact(path=path, digest=artifact_digest(_local_files(path)))
    made = fold([Manifest.model_validate_json(known.read_bytes())])
    return name, frame.InputArtifact(
        path=path, kind=made.kind, digest=made.digest, counts=made.counts, metrics=made.metrics
    )


def _local_files(folder: Path) -> tuple[File, ...]:
    import hashlib  # noqa: PLC0415 - only by hand

    found = []
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST and path.is_file():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            found.append(File(path=path.name, size=size, sha256=sha256, location=path.name))
    return tuple(found)


def _task(environ: Mapping[str, str]) -> Task:
    try:
        return Task.model_validate_json(environ[environment.TASK])
    except KeyError as error:
        raise UserError(
            "InvalidTask",
            f"{environment.TASK} is not set; name a stage to run one by hand, see --help",
        ) from error
    except ValidationError as error:
        raise UserError(
            "InvalidTask", f"{environment.TASK} does not hold a task: {error}"
        ) from error


def _store(environ: Mapping[str, str]) -> Store:
    from autodidact_store import open_store  # noqa: PLC0415 - not needed by hand

    uri = environ.get(environment.STORE)
    if not uri:
        raise UserError(
            "InvalidTask", f"{environment.STORE} is not set; give s3://bucket or file://"
        )
    return open_store(uri, environ)


def hide_deepspeed(*kinds: str) -> None:
    """Keeps transformers from importing DeepSpeed, seconds and a compiler, where nothing trains.

    It does so whenever DeepSpeed is installed. Must run before transformers is imported.
    """
    if not any(STAGES[kind].COMPUTE == "train" for kind in kinds):
        sys.modules.setdefault("deepspeed", None)  # type: ignore[arg-type]


def _rank(environ: Mapping[str, str]) -> int:
    return int(environ.get("RANK", 0))


def _sender(environ: Mapping[str, str]) -> progress.Send | None:
    try:
        return progress.from_environment(environ) if _rank(environ) == 0 else None
    except ValueError as error:
        log.warning("no progress: %s", error)
        return None


def _on_sigterm() -> Callable[[], bool]:
    """Installs the handler and returns whether the signal came."""
    seen = threading.Event()

    def note(*_: object) -> None:
        seen.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, note)
    return seen.is_set


def _last_words(path: str | None, result: Result) -> None:
    """Writes the result, cut to what a termination message may hold."""
    body = json.dumps(result.dump())
    while len(body.encode()) > contract.MAX_RESULT_BYTES and result.failure:
        message = result.failure.message[: len(result.failure.message) * 3 // 4 - 1] + "…"
        failure = result.failure.model_copy(update={"message": message})
        result = result.model_copy(update={"failure": failure})
        body = json.dumps(result.dump())
    log.info("result %s", body)
    if path:
        Path(path).write_text(body)
