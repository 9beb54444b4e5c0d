"""A whole run on another S3 server than MinIO."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from minio import Minio

from support import manifests
from tools.cluster.object_store import S3Server
from tools.paths import AUTODIDACT

pytestmark = pytest.mark.thorough

BUCKET = "second"


def test_a_whole_run_on_versitygw(versitygw: S3Server, tmp_path: Path) -> None:
    """Local mode goes through every kind of stage of a SelfRewardRun with nothing but plain S3."""
    server = Minio(
        versitygw.endpoint,
        access_key=versitygw.access_key,
        secret_key=versitygw.secret_key,
        secure=False,
    )
    server.make_bucket(BUCKET)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(manifests.tiny("local")))
    environment = {
        "AWS_ENDPOINT_URL": versitygw.url,
        "AWS_ACCESS_KEY_ID": versitygw.access_key,
        "AWS_SECRET_ACCESS_KEY": versitygw.secret_key,
    }
    done = subprocess.run(
        [str(AUTODIDACT), "run", str(file), "--store", f"s3://{BUCKET}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Succeeded: all iterations are done" in done.stdout
    made = {
        str(entry.object_name).split("/")[2].rpartition("-")[0]
        for entry in server.list_objects(BUCKET, prefix="local/artifacts/", recursive=True)
        if str(entry.object_name).endswith("/manifest.json")
    }
    assert made == {
        *("import", "compare-prompts", "train-sft", "evaluate", "generate-prompts"),
        *("generate-responses", "judge", "build-pairs", "train-dpo", "report"),
    }
