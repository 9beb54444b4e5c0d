"""What is remembered and what is put off, for speed, changes nothing but the speed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from autodidact_contract.api.status import RunStatus, StageStatus
from autodidact_contract.artifacts import Manifest
from autodidact_operator.plan.progression import frontier
from autodidact_operator.plan.recipes import BY_KIND
from autodidact_operator.runs import profiles
from autodidact_operator.runs.memory import Memory, only_detail
from autodidact_operator.runs.published import Library
from autodidact_operator.runs.specs import interpret
from autodidact_operator.settings import Settings
from autodidact_store.directory import DirectoryStore
from autodidact_store.publishing import publish
from tools.paths import EXAMPLES

EXAMPLE = EXAMPLES / "selfreward-toy.yaml"
RECIPE = BY_KIND["SelfRewardRun"]
OPENED = ("toy://",)


@pytest.fixture
def body() -> dict[str, Any]:
    """A run object as the API server shows it."""
    run: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    run["metadata"] |= {
        "namespace": "research",
        "uid": "uid-a",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return run


@pytest.fixture
def memory() -> Memory:
    """An empty memory of an operator that writes details every two seconds."""
    return Memory(Settings(store="unused", import_prefixes=OPENED))


def test_a_pod_that_runs_now_is_a_detail() -> None:
    """What a stage is doing can wait; that it is done, or that the run waits, cannot."""
    before = RunStatus(phase="Running", stages=(StageStatus(name="judge-1", phase="Pending"),))
    running = (StageStatus(name="judge-1", phase="Running"),)
    assert only_detail(before, before.model_copy(update={"stages": running, "progress": "5%"}))
    assert not only_detail(before, before.model_copy(update={"model": "research/artifacts/x"}))
    assert not only_detail(before, before.model_copy(update={"phase": "Suspended"}))


def test_details_wait_for_the_last_write(memory: Memory) -> None:
    """Details are written at once where nothing was, else some seconds after the last write."""
    assert memory.seconds_to_write("uid-a", 100.0) <= 0
    memory.wrote("uid-a", 100.0)
    assert memory.seconds_to_write("uid-a", 100.5) == 1.5
    memory.keep([])
    assert memory.seconds_to_write("uid-a", 100.5) <= 0


def test_an_edited_run_is_interpreted_anew(memory: Memory, body: dict[str, Any]) -> None:
    """One interpretation holds for one generation of the spec."""
    first = memory.interpreted(RECIPE, body)
    graph = memory.graph(RECIPE, first, "")
    assert memory.interpreted(RECIPE, body) is first
    assert memory.graph(RECIPE, first, "") is graph
    body["spec"]["suspend"] = True
    body["metadata"]["generation"] = 2
    second = memory.interpreted(RECIPE, body)
    assert (first.spec.suspend, second.spec.suspend) == (False, True)
    assert memory.graph(RECIPE, second, "") is not graph


def test_secrets_that_a_pod_may_wait_for_are_named(memory: Memory, body: dict[str, Any]) -> None:
    """The store's, those of the run's inputs and those of its profiles' engines, each once."""
    body["spec"]["data"]["heldOut"]["secretName"] = "inputs"
    run = memory.interpreted(RECIPE, body)
    own = {"default": {"engineSecretName": "engine"}, "gpu": {"engineSecretName": "engine"}}
    assert profiles.secrets(run.spec, own, "store") == ("store", "inputs", "engine")


class Counting(DirectoryStore):
    """A store that counts LISTs."""

    lists = 0

    def entries(self, prefix: str) -> Any:
        """Counts, and lists."""
        self.lists += 1
        return super().entries(prefix)


def test_what_a_job_made_is_found_without_a_list(tmp_path: Path, body: dict[str, Any]) -> None:
    """Whether something is there already takes a LIST; what was just made is read where it is."""
    run = interpret(RECIPE, body, OPENED)
    graph = RECIPE.graph(run.spec, run.ref.uid)
    store = Counting(tmp_path / "store")
    (tmp_path / "store").mkdir()
    library = Library(store)

    def look() -> set[str]:
        found = library.artifacts(run.ref.uid, run.ref.namespace, graph, busy=())
        return set(asyncio.run(found))

    assert look() == set()
    asked = store.lists
    imports = frontier(graph, {})
    for number, (kind, key) in enumerate(imports.values()):
        files = tmp_path / str(number)
        files.mkdir()
        (files / "data").write_text(key)
        draft = Manifest(kind=kind, key=key, shard=0, shards=1, files=(), inputs={}, config={})
        publish(store, run.ref.namespace, draft, files)
    store.lists = 0
    assert look() == set(imports)
    # The two are for train-sft and compare-prompts, which are not there.
    assert (asked, store.lists) == (len(imports), 2)
