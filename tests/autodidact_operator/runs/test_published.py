import asyncio
from pathlib import Path
from typing import Any

from autodidact_contract.artifacts import Manifest
from autodidact_operator.plan.progression import frontier
from autodidact_operator.runs.published import Library
from autodidact_operator.runs.specs import interpret
from autodidact_store.directory import DirectoryStore
from autodidact_store.publishing import publish
from support.interpreted import OPENED, RECIPE


class Counting(DirectoryStore):
    """A store that counts LISTs."""

    lists = 0

    def entries(self, prefix: str) -> Any:
        """Counts, and lists."""
        self.lists += 1
        return super().entries(prefix)


def test_what_a_job_made_is_found_without_a_list(tmp_path: Path, toy_body: dict[str, Any]) -> None:
    """Whether something is there already takes a LIST; what was just made is read where it is."""
    run = interpret(RECIPE, toy_body, OPENED)
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
