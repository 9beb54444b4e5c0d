import hashlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from autodidact_contract.artifacts import Manifest, artifact_digest
from autodidact_contract.environment import SOURCE_CREDENTIALS
from autodidact_store import open_store, publishing
from autodidact_worker.intake import sources
from autodidact_worker.runtime.errors import StageError, StoppedError, UserError
from support.imports import INSTRUCTION, BringIn


def test_links_in_a_source_are_not_followed(bring_in: BringIn, llama: Path, tmp_path: Path) -> None:
    """A link could bring any file of the worker into the store."""
    shutil.copytree(llama, tmp_path / "model")
    (tmp_path / "model/config.json").unlink()
    (tmp_path / "model/config.json").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="links are not followed"):
        bring_in(tmp_path / "model", "model")


def test_missing_sources_are_named(bring_in: BringIn, tmp_path: Path) -> None:
    """A wrong path fails for good, and so does an unknown scheme."""
    with pytest.raises(UserError, match="nothing-here does not exist"):
        bring_in(tmp_path / "nothing-here", "model")
    with pytest.raises(UserError, match="no such scheme"):
        bring_in("ftp://host/model", "model")


class Bucket:
    """A directory that answers for a bucket."""

    def __init__(self, name: str, folder: Path) -> None:
        self._store = open_store(str(folder))
        self.uri = f"s3://{name}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any, list[Any]]:
    """A bucket ``inputs``, the artifact store beside it, and the environments it was opened in."""
    folder, opened = tmp_path / "inputs", []
    folder.mkdir()

    def open_bucket(uri: str, environ: dict[str, str]) -> Bucket:
        opened.append(environ)
        assert uri == "s3://inputs"
        return Bucket("inputs", folder)

    monkeypatch.setattr(sources, "open_store", open_bucket)
    monkeypatch.delenv(SOURCE_CREDENTIALS, raising=False)
    return folder, Bucket("artifacts", folder), opened


def test_a_model_on_the_store_s_server_is_not_copied(
    bring_in: BringIn, llama: Path, bucket: tuple[Path, Any, list[Any]]
) -> None:
    """The files are listed with digests where they are, and make the digest a copy would have."""
    folder, store, _ = bucket
    shutil.copytree(llama, folder / "llama/v1")
    (folder / "llama/v1/extra.bin").write_bytes(b"x")
    (folder / "llama/v10").mkdir()
    (folder / "llama/v10/config.json").write_text("{}")
    out, output = bring_in("s3://inputs/llama/v1/", "model", store=store)
    assert list(out.iterdir()) == []
    assert {file.path for file in output.external} == {path.name for path in llama.iterdir()}
    for file in output.external:
        data = (llama / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert file.location == f"s3://inputs/llama/v1/{file.path}"
    assert artifact_digest(output.external)
    assert bring_in("s3://inputs/llama/v1", "model", store=store)[1].external == output.external


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json"])
def test_a_poisoned_model_in_a_bucket_is_refused(
    bring_in: BringIn, llama: Path, bucket: tuple[Path, Any, list[Any]], name: str
) -> None:
    """The header is checked while it streams by, JSON before any weights are read."""
    folder, store, _ = bucket
    shutil.copytree(llama, folder / "llama")
    (folder / "llama" / name).write_text('{"auto_map": {}}')
    with pytest.raises(UserError, match=name):
        bring_in("s3://inputs/llama", "model", store=store)


def test_foreign_sources_are_copied_with_their_own_credentials(
    bring_in: BringIn,
    llama: Path,
    bucket: tuple[Path, Any, list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other stages do not have the run's Secret, so they could not read the place itself."""
    folder, store, opened = bucket
    shutil.copytree(llama, folder / "llama")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/endpoint").write_text("https://s3.example.com\n")
    monkeypatch.setenv(SOURCE_CREDENTIALS, str(tmp_path / "secret"))
    out, output = bring_in("s3://inputs/llama", "model", store=store)
    assert output.external == ()
    assert {path.name for path in out.iterdir()} == {path.name for path in llama.iterdir()}
    assert opened[0]["AUTODIDACT_STORE_CREDENTIALS"] == str(tmp_path / "secret")
    assert opened[0]["AWS_ENDPOINT_URL_S3"] == "https://s3.example.com"


def test_data_in_a_bucket_is_one_object(
    bring_in: BringIn, data: Callable[..., Path], bucket: tuple[Path, Any, list[Any]]
) -> None:
    """It is copied, for it is small; a longer name with the same beginning is another object."""
    folder, store, _ = bucket
    shutil.copy(data(INSTRUCTION), folder / "ift.jsonl")
    (folder / "ift.jsonl.old").write_text("x")
    out, output = bring_in("s3://inputs/ift.jsonl", "instructions", store=store)
    assert (output.counts["rows"], output.external) == (1, ())
    assert (out / "rows.jsonl").exists()
    with pytest.raises(UserError, match="there is nothing"):
        bring_in("s3://inputs/if", "instructions", store=store)


def test_sigterm_ends_a_long_read(
    bring_in: BringIn, llama: Path, bucket: tuple[Path, Any, list[Any]]
) -> None:
    """Nothing is published then, and the next attempt begins again."""
    folder, store, _ = bucket
    shutil.copytree(llama, folder / "llama")
    with pytest.raises(StoppedError):
        bring_in("s3://inputs/llama", "model", store=store, stopping=lambda: True)


def test_an_unreachable_hub_is_worth_another_attempt(
    bring_in: BringIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, and no UserError: the network may come back."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StageError, match="hf://org/name@v1: the hub cannot be reached") as caught:
        bring_in("hf://org/name@v1", "model")
    assert (caught.value.code, caught.value.reason) == ("retry", "SourceUnavailable")
    assert "\n" not in str(caught.value)


def test_a_hub_uri_needs_its_form(bring_in: BringIn) -> None:
    """A wrong one fails for good."""
    with pytest.raises(UserError, match="is not hf://org/name@revision"):
        bring_in("hf://name", "model")


def test_a_model_on_a_real_server_can_be_fetched_later(
    bring_in: BringIn, llama: Path, minio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Imported without a copy from one bucket of MinIO, published in another, read back whole."""
    root = Minio(minio.endpoint, minio.access_key, minio.secret_key, secure=False)
    inputs, store = (f"{name}-{secrets.token_hex(6)}" for name in ("inputs", "store"))
    for name in (inputs, store):
        root.make_bucket(name)
    for path in llama.iterdir():
        root.fput_object(inputs, f"team/llama/{path.name}", str(path))
    monkeypatch.delenv(SOURCE_CREDENTIALS, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{minio.endpoint}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", minio.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", minio.secret_key)
    opened = open_store(f"s3://{store}")
    out, output = bring_in(f"s3://{inputs}/team/llama/", "model", store=opened)
    assert len(output.external) == len(list(llama.iterdir()))
    draft = Manifest(kind="import", key="0a", shard=0, shards=1, files=(), inputs={}, config={})
    publishing.publish(opened, "team", draft, out, output.external)
    found = publishing.find(opened, "team", "import", "0a")
    assert found is not None
    publishing.fetch(opened, "team", "import", "0a", found.digest, tmp_path / "back")
    for path in llama.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(UserError, match="there is nothing"):
        bring_in(f"s3://{inputs}/team/lla", "model", store=opened)
