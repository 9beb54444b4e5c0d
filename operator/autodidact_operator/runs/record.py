"""The record of a run that ended, kept in the store: it outlives the run object."""

import json
from collections.abc import Mapping
from typing import Any

from autodidact_contract.api.status import RunStatus
from autodidact_contract.artifacts import Artifact, run_prefix
from autodidact_contract.base import canonical_json
from autodidact_contract.task import RunRef
from autodidact_store.protocol import Store

RECORD = "run.json"

MAX_RECORD_BYTES = 1 << 20


def last_status(store: Store, namespace: str, kind: str, name: str) -> RunStatus | None:
    """Returns how the last run of a name ended, from the records; None where there is none.

    Raises:
        StoreError: The records could not be read.
    """
    found = [
        RunStatus.model_validate(record["status"])
        for entry in store.entries(f"{namespace}/runs/")
        if entry.key.endswith(f"/{RECORD}")
        for record in [json.loads(store.read(entry.key, MAX_RECORD_BYTES))]
        if (record["run"]["kind"], record["run"]["name"]) == (kind, name)
    ]
    return max(found, key=lambda status: status.finished_at or "", default=None)


def write_record(
    store: Store,
    ref: RunRef,
    spec: Mapping[str, Any],
    status: RunStatus,
    artifacts: Mapping[str, Artifact],
) -> str:
    """Writes ``run.json``: what was asked, what came out, and from which artifacts.

    Returns:
        The record's key.

    Raises:
        StoreError: It could not be written.
    """
    key = run_prefix(ref.namespace, ref.uid) + RECORD
    lineage = {name: {"artifact": a.name, "digest": a.digest} for name, a in artifacts.items()}
    record = {"run": ref.dump(), "spec": spec, "status": status.dump(), "artifacts": lineage}
    store.replace(key, canonical_json(record))
    return key
