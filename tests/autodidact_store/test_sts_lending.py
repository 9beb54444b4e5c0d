"""What a Job's credentials open on a real server, and what they do not."""

from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.artifacts import Manifest
from autodidact_operator.plan.progression import stage_key_of
from autodidact_operator.plan.recipes import BY_KIND
from autodidact_operator.runs.lending import policy, stages_of
from autodidact_store import AccessDeniedError, Store, find, open_store, publish
from autodidact_store.opening import open_sts
from support.builders import spec

GRAPH = BY_KIND["SelfRewardRun"].graph(spec(), "salt")


def lent(bucket: Any, job: str) -> Store:
    """Opens the store as a Job of the run would."""
    allowed = policy(bucket.name, "team", GRAPH, job, {})
    session = open_sts(environ=bucket.environ).mint(allowed, 900, f"test-{job}")
    return open_store(
        bucket.uri,
        {
            "AWS_ENDPOINT_URL": bucket.environ["AWS_ENDPOINT_URL"],
            "AWS_ACCESS_KEY_ID": session.access_key,
            "AWS_SECRET_ACCESS_KEY": session.secret_key,
            "AWS_SESSION_TOKEN": session.session_token,
        },
    )


def test_a_job_publishes_its_own_and_touches_nothing_else(
    minio_bucket: Any, tmp_path: Path
) -> None:
    """It writes its own prefix; it neither writes, lists, reads nor deletes anything else."""
    root = minio_bucket.open()
    stage = stages_of(GRAPH, "import")[0]
    kind, key = stage.config.stage, stage_key_of(stage, {})
    root.replace("other/artifacts/import-1/x", b"secret")
    root.replace("team/artifacts/judge-1/x", b"published")
    job = lent(minio_bucket, "import")
    (tmp_path / "rows.jsonl").write_bytes(b"{}")
    draft = Manifest(kind=kind, key=key, shard=0, shards=1, files=(), inputs={}, config={})
    manifest = publish(job, "team", draft, tmp_path)
    assert find(job, "team", kind, key) is not None
    assert job.read("team/artifacts/judge-1/x", 9) == b"published"
    for attempt in (
        lambda: job.replace("team/artifacts/judge-1/x", b""),
        lambda: job.replace("other/artifacts/import-1/x", b""),
        lambda: job.replace(f"team/checkpoints/{kind}-{key}/1/x", b""),
        lambda: job.read("other/artifacts/import-1/x", 9),
        lambda: list(job.entries("other/")),
        lambda: list(job.entries("")),
        lambda: job.delete(manifest.files[0].location),
        lambda: job.delete("team/artifacts/judge-1/x"),
    ):
        with pytest.raises(AccessDeniedError):
            attempt()


def test_a_fused_job_writes_any_key_of_its_kinds_alone(minio_bucket: Any) -> None:
    """A key that is not known before may be any; longer names and other kinds stay closed."""
    job = lent(minio_bucket, "sample-1")
    kinds = {stage.config.stage for stage in stages_of(GRAPH, "sample-1")}
    for kind in kinds:
        job.replace(f"team/artifacts/{kind}-{'0' * 32}/x", b"")
        with pytest.raises(AccessDeniedError):
            job.replace(f"team/artifacts/{kind}-more-{'0' * 32}/x", b"")
    with pytest.raises(AccessDeniedError):
        job.replace(f"team/artifacts/train-sft-{'0' * 32}/x", b"")


def test_training_keeps_and_clears_checkpoints(minio_bucket: Any) -> None:
    """A Job that trains writes and deletes below its own checkpoints, of any step."""
    job = lent(minio_bucket, "train-sft")
    place = f"team/checkpoints/train-sft-{'0' * 32}/000000001/marker.json"
    job.replace(place, b"{}")
    job.delete(place)
    assert not list(job.entries("team/checkpoints/"))
