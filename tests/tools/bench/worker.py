"""Parts ``worker`` and ``run``: where a worker's time goes, from its own log.

``worker`` starts one stage that samples a single token from each prompt, on the toy model.
``run`` is a whole toy run in local mode, one process at a time, so that shares add up.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from autodidact_contract.artifacts import Manifest, artifact_digest, part_name, stage_key
from autodidact_contract.base import canonical_json
from autodidact_contract.records import Prompt
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.data import Import
from autodidact_contract.stages.judging import GenerateResponses
from autodidact_contract.task import Input, RunRef, StageTask, Task
from autodidact_store import open_store
from autodidact_store.publishing import find, publish
from tools.bench.figures import Figure, median
from tools.paths import EXAMPLES

NAMESPACE = "bench"
PROMPTS = 8
_REF = RunRef(kind="SelfRewardRun", namespace=NAMESPACE, name="bench", uid="bench")
# As on the development cluster: a toy is fastest on one thread.
_THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
_LINE = re.compile(r"(?P<time>\S+ \S+) \S+ stage=(?P<stage>\S+) \S+ (?P<text>.*)")
_SECONDS = re.compile(r"(\w+)Seconds=([0-9.]+)")
_LOADED = re.compile(r"model loaded .*seconds=([0-9.]+)")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a worker's log."""

    at: float
    stage: str
    text: str

    @property
    def seconds(self) -> Mapping[str, float]:
        """What a stage's last line says of its phases."""
        if not self.text.startswith("done "):
            return {}
        return {phase: float(value) for phase, value in _SECONDS.findall(self.text)}


def lines(log: str) -> list[Line]:
    """Returns the lines of a worker's log that are its own."""
    matches = [match for text in log.splitlines() if (match := _LINE.fullmatch(text))]
    return [
        Line(
            at=datetime.strptime(match["time"], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp(),
            stage=match["stage"],
            text=match["text"],
        )
        for match in matches
    ]


# First token.


def first_token(repetitions: int) -> list[Figure]:
    """Measures how long a worker takes from its start to the first token, and for what.

    Args:
        repetitions: Processes; one more comes first and warms the file system's cache.
    """
    with tempfile.TemporaryDirectory(prefix="autodidact-bench-") as name:
        folder = Path(name)
        inputs = _inputs(folder)
        splits = [_one_start(folder, inputs, seed) for seed in range(repetitions + 1)][1:]
    return [
        median(f"first-token.{phase}", [split[phase] for split in splits], "s")
        for phase in splits[0]
    ]


def _inputs(folder: Path) -> dict[str, Input]:
    """Publishes a toy model, by a worker, and prompts."""
    config = Import(uri="toy://selfreward/model", content="model")
    _work(folder, StageTask(name="import-model", config=config))
    rows = [
        Prompt(id=f"{number:016x}", prompt=letters, demonstrations=(), rouge_max=0.0)
        for number, letters in enumerate(("abcde", "badce", "edcba", "aabbc") * (PROMPTS // 4))
    ]
    (folder / "prompts").mkdir()
    path = folder / "prompts" / part_name("prompts", 0)
    path.write_bytes(b"".join(canonical_json(row.dump()) + b"\n" for row in rows))
    store = open_store(str(_store(folder)))
    draft = Manifest(
        kind="generate-prompts", key="0" * 32, shard=0, shards=1, files=(), inputs={}, config={}
    )
    prompts = publish(store, NAMESPACE, draft, folder / "prompts")
    model = find(store, NAMESPACE, "import", stage_key(config.dump(), {}))
    if model is None:
        raise RuntimeError("the toy model was not imported")
    return {
        "model": Input(artifact=model.name, digest=model.digest),
        "prompts": Input(
            artifact=f"{draft.kind}-{draft.key}", digest=artifact_digest(prompts.files)
        ),
    }


def _one_start(folder: Path, inputs: dict[str, Input], seed: int) -> dict[str, float]:
    sampling = Sampling(temperature=1, top_p=1, max_new_tokens=1)
    config = GenerateResponses(seed=seed, per_prompt=1, sampling=sampling)
    started, log = _work(folder, StageTask(name="first", config=config, inputs=inputs))
    begun = _find(log, "start ").at
    loaded = _find(log, "model loaded").at
    token = _find(log, "progress ").at
    phases = _find(log, "done ").seconds
    before = phases["wait"] + phases["load"] + phases["fetch"]
    return {
        "total": token - started,
        "python": begun - started - before,
        "imports": phases["load"],
        "fetch": phases["fetch"],
        "model": loaded - begun,
        "generate": token - loaded,
    }


def _work(folder: Path, stage: StageTask) -> tuple[float, list[Line]]:
    """Runs a worker; returns when it was started and its log."""
    task = Task(run=_REF, job=stage.name, attempt=1, stages=(stage,))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        environment = {
            **os.environ,
            **_THREADS,
            "AUTODIDACT_TASK": task.model_dump_json(by_alias=True, exclude_none=True),
            "AUTODIDACT_STORE": str(_store(folder)),
            "AUTODIDACT_SCRATCH": scratch,
        }
        started = time.time()
        command = [sys.executable, "-m", "autodidact_worker"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the worker exited with {done.returncode}:\n{done.stdout[-2000:]}")
    return started, lines(done.stdout)


def _store(folder: Path) -> Path:
    store = folder / "store"
    store.mkdir(exist_ok=True)
    return store


def _find(log: list[Line], beginning: str) -> Line:
    return next(line for line in log if line.text.startswith(beginning))


# A whole run.

KINDS = {
    "generate-prompts": "generate",
    "generate-responses": "generate",
    "judge": "judge",
    "evaluate": "evaluate",
    "train-sft": "train",
    "train-dpo": "train",
}
"""What the work of a stage counts as; that of all others is `other`."""

SHARES = ("generate", "judge", "evaluate", "train", "load", "publish", "other", "wait")
SMALL: Mapping[str, Mapping[str, Any]] = {
    "warmUp": {"epochs": 2},
    "prompts": {"perIteration": 64},
    "gates": {"minParseRate": None, "minPairs": None},
}


def whole_run(*, small: bool) -> list[Figure]:
    """Measures a toy run in local mode: seconds, and which share of them went where.

    `load` is importing libraries, bringing inputs and loading models; `wait` is what no stage
    accounts for: processes that start and end, and what happens between them.

    Args:
        small: Few epochs and prompts; the run may learn nothing.
    """
    with tempfile.TemporaryDirectory(prefix="autodidact-bench-") as name:
        folder = Path(name)
        manifest = folder / "run.yaml"
        manifest.write_text(yaml.safe_dump(_toy(small=small)))
        command = [sys.executable, "-m", "autodidact_operator.cli", "run", str(manifest)]
        options = ["--store", str(_store(folder)), "--logs", str(folder / "logs")]
        began = time.monotonic()
        done = subprocess.run(
            [*command, *options],
            env=os.environ | _THREADS,
            capture_output=True,
            text=True,
            check=False,
        )
        wall_s = time.monotonic() - began
        if done.returncode and not small:
            raise RuntimeError(f"the run exited with {done.returncode}:\n{done.stdout[-2000:]}")
        spent = sum((_spent(lines(log.read_text())) for log in folder.glob("logs/*")), Counter())
    return list(_shares(spent, wall_s))


def _toy(*, small: bool) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLES / "selfreward-toy.yaml").read_text())
    for part, values in SMALL.items() if small else ():
        manifest["spec"][part] = {**manifest["spec"].get(part, {}), **values}
    return manifest


def _spent(log: list[Line]) -> Counter[str]:
    """Returns the seconds of one worker by what they were spent on."""
    spent: Counter[str] = Counter()
    loading: Counter[str] = Counter()
    for line in log:
        if loaded := _LOADED.match(line.text):
            loading[line.stage] += float(loaded[1])
        if phases := line.seconds:
            kind = line.stage.rstrip("0123456789").rstrip("-")
            spent[KINDS.get(kind, "other")] += phases["work"] - loading[line.stage]
            spent["load"] += phases["load"] + phases["fetch"] + loading[line.stage]
            spent["publish"] += phases.get("publish", 0.0)
    return spent


def _shares(spent: Mapping[str, float], wall_s: float) -> Iterator[Figure]:
    yield Figure(name="run.wall", value=wall_s, unit="s")
    wait_s = wall_s - sum(spent.values())
    for name in SHARES:
        seconds = wait_s if name == "wait" else spent.get(name, 0.0)
        yield Figure(name=f"run.{name}", value=100 * seconds / wall_s, unit="%")
