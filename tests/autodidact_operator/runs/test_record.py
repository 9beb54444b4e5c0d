"""The record of a run that ended."""

import json
from pathlib import Path

from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.task import RunRef
from autodidact_operator.runs.record import last_status, write_record
from autodidact_store import Store, open_store


def ended(store: Store, name: str, uid: str, finished_at: str, phase: str = "Succeeded") -> str:
    """Writes the record of a run and returns its key."""
    ref = RunRef(kind="ReFTRun", namespace="team", name=name, uid=uid)
    made = Artifact(kind="import", key=32 * "0", digest=64 * "1")
    status = RunStatus.model_validate({"phase": phase, "finishedAt": finished_at})
    return write_record(store, ref, {"seed": 1}, status, {"import-model": made})


def test_the_last_run_of_a_name_counts(tmp_path: Path) -> None:
    """Of two runs of one name the one that ended later is told of; others are not."""
    store = open_store(f"file://{tmp_path}", {})
    ended(store, "a", "uid-1", "2026-03-01T12:00:00+00:00", "Failed")
    ended(store, "a", "uid-2", "2026-03-02T12:00:00+00:00")
    ended(store, "b", "uid-3", "2026-03-03T12:00:00+00:00", "Failed")
    found = last_status(store, "team", "ReFTRun", "a")
    assert found is not None
    assert found.phase == "Succeeded"
    assert last_status(store, "team", "SelfRewardRun", "a") is None
    assert last_status(store, "other", "ReFTRun", "a") is None


def test_a_record_says_what_was_asked_and_what_came_out(tmp_path: Path) -> None:
    """Spec, status and the digest of each artifact are in one file."""
    store = open_store(f"file://{tmp_path}", {})
    key = ended(store, "a", "uid-1", "2026-03-01T12:00:00+00:00")
    assert key == "team/runs/uid-1/run.json"
    record = json.loads(store.read(key, 1 << 20))
    assert record["spec"] == {"seed": 1}
    assert record["status"]["phase"] == "Succeeded"
    assert record["artifacts"] == {
        "import-model": {"artifact": f"import-{32 * '0'}", "digest": 64 * "1"}
    }
