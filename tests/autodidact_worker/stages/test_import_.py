"""The import stage: what it takes from where, and what it refuses with which sentence."""

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from autodidact_contract.artifacts import Manifest, artifact_digest
from autodidact_contract.environment import SOURCE_CREDENTIALS
from autodidact_contract.stages.data import Import
from autodidact_store import open_store, publishing
from autodidact_worker.intake import model_files, sources
from autodidact_worker.runtime.errors import StageError, StoppedError, UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.stages import import_

Run = Callable[..., tuple[Path, Output]]

INSTRUCTION = {"prompt": "Say hi.", "response": "Hi."}
EVALUATION = {**INSTRUCTION, "judgement": "Short and right. Score: 4", "score": 4}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the stage and returns its folder and its output."""

    def call(uri: object, content: str, seed: int = 0, **fields: Any) -> tuple[Path, Output]:
        place = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        out, scratch = place / "out", place / "scratch"
        out.mkdir(parents=True)
        scratch.mkdir()
        config = Import(uri=str(uri), content=content, seed=seed)
        context = Context(config=config, inputs={}, out=out, scratch=scratch, **fields)
        return out, import_.run(context)

    return call


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data file from rows or lines."""

    def write(*lines: Any) -> Path:
        path = tmp_path / "data.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("".join(f"{text}\n" for text in texts))
        return path

    return write


@pytest.mark.parametrize(
    ("content", "name", "rows"),
    [
        ("instructions", "instructions", 3550),
        ("evaluations", "evaluations", 1630),
        ("ranked", "heldout", 256),
    ],
)
def test_toy_data_is_a_function_of_the_seed(run: Run, content: str, name: str, rows: int) -> None:
    """The same bytes for the same seed, others for another."""
    files = []
    for seed in (0, 0, 1):
        out, output = run(f"toy://selfreward/{name}", content, seed)
        assert output.counts["rows"] == rows
        files.append((out / "rows.jsonl").read_bytes())
    assert files[0] == files[1] != files[2]


def test_toy_model_is_a_safe_model(run: Run) -> None:
    """It is a Hugging Face directory like any other."""
    out, output = run("toy://selfreward/model", "model")
    model_files.check(out)
    assert output.counts["files"] == 5


@pytest.mark.parametrize(
    "uri", ["toy://selfreward/heldout", "toy://other/model", "toy://selfreward/"]
)
def test_unknown_toys_name_the_right_one(run: Run, uri: str) -> None:
    """The sentence says which URI to use."""
    with pytest.raises(UserError, match="use toy://selfreward/model"):
        run(uri, "model")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_data_keeps_its_bytes(run: Run, data: Callable[..., Path], scheme: str) -> None:
    """Blank lines and key order stay as they were; rows and duplicates are counted."""
    path = data(INSTRUCTION, "", {"response": "a", "prompt": "b"}, INSTRUCTION)
    out, output = run(f"{scheme}{path}", "instructions")
    assert (out / "rows.jsonl").read_bytes() == path.read_bytes()
    assert output.counts == {"rows": 3, "duplicates": 1}


def test_descriptions_beside_rows_are_no_rows(run: Run, data: Callable[..., Path]) -> None:
    """A .json file is the data only where there is no .jsonl file."""
    path = data(INSTRUCTION)
    (path.parent / "sub").mkdir()
    shutil.copy(path, path.parent / "sub/train.jsonl")
    (path.parent / "sub/dataset_infos.json").write_text("{}")
    assert run(path.parent / "sub", "instructions")[1].counts["rows"] == 1
    (path.parent / "sub/train.jsonl").rename(path.parent / "sub/dataset_infos.json")
    assert run(path.parent / "sub", "instructions")[1].counts["rows"] == 1


def test_the_only_data_file_of_a_folder_is_found(run: Run, data: Callable[..., Path]) -> None:
    """A folder will do if it leaves no choice."""
    path = data(INSTRUCTION)
    (path.parent / "sub").mkdir()
    shutil.move(path, path.parent / "sub/train.jsonl")
    (path.parent / "sub/README.md").write_text("x")
    assert run(path.parent / "sub", "instructions")[1].counts["rows"] == 1
    shutil.copy(path.parent / "sub/train.jsonl", path.parent / "sub/test.jsonl")
    with pytest.raises(UserError, match="there are 2"):
        run(path.parent / "sub", "instructions")


@pytest.mark.parametrize(
    ("content", "lines", "says"),
    [
        ("instructions", [INSTRUCTION, '{"prompt": '], r"data\.jsonl line 2: "),
        ("instructions", [{"prompt": "a"}], r"line 1: response: Field required"),
        ("instructions", [{**INSTRUCTION, "system": "x"}], r"line 1: system: Extra inputs"),
        ("instructions", [{**INSTRUCTION, "prompt": ""}], r"line 1: prompt: "),
        ("instructions", [], "has no rows"),
        ("instructions", ["", ""], "has no rows"),
        ("evaluations", [EVALUATION, {**EVALUATION, "score": 3}], "row 2: score is 3 but"),
        ("evaluations", [{**EVALUATION, "judgement": "Nice."}], "no score that can be read"),
        ("ranked", [{"prompt": "a", "replies": ["x"], "ranks": [1]}], "line 1: replies"),
        (
            "ranked",
            [{"prompt": "a", "replies": ["x", "y", "z"], "ranks": [1, 2]}],
            "3 replies but 2",
        ),
    ],
)
def test_bad_rows_are_named(
    run: Run, data: Callable[..., Path], content: str, lines: list[Any], says: str
) -> None:
    """The sentence names file, line and column."""
    with pytest.raises(UserError, match=says) as caught:
        run(data(*lines), content)
    assert caught.value.reason == "InvalidData"


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ("evaluations", EVALUATION),
        ("evaluations", {**EVALUATION, "judgement": "yynny=3", "score": 3}),
        ("evaluations", {**EVALUATION, "judgement": "Score: 4.5", "score": 4.5}),
        ("ranked", {"prompt": "a", "replies": ["x", "y", "z"], "ranks": [1, 2, 2]}),
    ],
)
def test_good_rows_pass(
    run: Run, data: Callable[..., Path], content: str, row: dict[str, Any]
) -> None:
    """Both rubrics, fractional scores and shared ranks are fine."""
    assert run(data(row), content)[1].counts["rows"] == 1


def test_a_model_is_copied_without_what_it_does_not_need(
    run: Run, llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pickled weights beside safetensors, code and texts stay behind and are named in the log."""
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    (folder / "README.md").write_text("# A model")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with caplog.at_level(logging.INFO):
        out, output = run(folder, "model")
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in llama.iterdir()} | {"chat_template.jinja"}
    assert output.counts["ignored"] == 2
    assert "README.md, pytorch_model.bin" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.json", '{"auto_map": {"AutoModel": "evil.Model"}}', "UnsafeModel"),
        ("model.safetensors", "junk", "InvalidModel"),
    ],
)
def test_poisoned_models_are_not_imported(
    run: Run, llama: Path, tmp_path: Path, name: str, text: str, reason: str
) -> None:
    """What safety refuses fails the stage for good."""
    shutil.copytree(llama, tmp_path / "model")
    (tmp_path / "model" / name).write_text(text)
    with pytest.raises(UserError) as caught:
        run(tmp_path / "model", "model")
    assert caught.value.reason == reason


def test_links_in_a_source_are_not_followed(run: Run, llama: Path, tmp_path: Path) -> None:
    """A link could bring any file of the worker into the store."""
    shutil.copytree(llama, tmp_path / "model")
    (tmp_path / "model/config.json").unlink()
    (tmp_path / "model/config.json").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="links are not followed"):
        run(tmp_path / "model", "model")


def test_missing_sources_are_named(run: Run, tmp_path: Path) -> None:
    """A wrong path fails for good, and so does an unknown scheme."""
    with pytest.raises(UserError, match="nothing-here does not exist"):
        run(tmp_path / "nothing-here", "model")
    with pytest.raises(UserError, match="no such scheme"):
        run("ftp://host/model", "model")


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
    run: Run, llama: Path, bucket: tuple[Path, Any, list[Any]]
) -> None:
    """The files are listed with digests where they are, and make the digest a copy would have."""
    folder, store, _ = bucket
    shutil.copytree(llama, folder / "llama/v1")
    (folder / "llama/v1/extra.bin").write_bytes(b"x")
    (folder / "llama/v10").mkdir()
    (folder / "llama/v10/config.json").write_text("{}")
    out, output = run("s3://inputs/llama/v1/", "model", store=store)
    assert list(out.iterdir()) == []
    assert {file.path for file in output.external} == {path.name for path in llama.iterdir()}
    for file in output.external:
        data = (llama / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert file.location == f"s3://inputs/llama/v1/{file.path}"
    assert artifact_digest(output.external)
    assert run("s3://inputs/llama/v1", "model", store=store)[1].external == output.external


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json"])
def test_a_poisoned_model_in_a_bucket_is_refused(
    run: Run, llama: Path, bucket: tuple[Path, Any, list[Any]], name: str
) -> None:
    """The header is checked while it streams by, JSON before any weights are read."""
    folder, store, _ = bucket
    shutil.copytree(llama, folder / "llama")
    (folder / "llama" / name).write_text('{"auto_map": {}}')
    with pytest.raises(UserError, match=name):
        run("s3://inputs/llama", "model", store=store)


def test_foreign_sources_are_copied_with_their_own_credentials(
    run: Run,
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
    out, output = run("s3://inputs/llama", "model", store=store)
    assert output.external == ()
    assert {path.name for path in out.iterdir()} == {path.name for path in llama.iterdir()}
    assert opened[0]["AUTODIDACT_STORE_CREDENTIALS"] == str(tmp_path / "secret")
    assert opened[0]["AWS_ENDPOINT_URL_S3"] == "https://s3.example.com"


def test_data_in_a_bucket_is_one_object(
    run: Run, data: Callable[..., Path], bucket: tuple[Path, Any, list[Any]]
) -> None:
    """It is copied, for it is small; a longer name with the same beginning is another object."""
    folder, store, _ = bucket
    shutil.copy(data(INSTRUCTION), folder / "ift.jsonl")
    (folder / "ift.jsonl.old").write_text("x")
    out, output = run("s3://inputs/ift.jsonl", "instructions", store=store)
    assert (output.counts["rows"], output.external) == (1, ())
    assert (out / "rows.jsonl").exists()
    with pytest.raises(UserError, match="there is nothing"):
        run("s3://inputs/if", "instructions", store=store)


def test_sigterm_ends_a_long_read(
    run: Run, llama: Path, bucket: tuple[Path, Any, list[Any]]
) -> None:
    """Nothing is published then, and the next attempt begins again."""
    folder, store, _ = bucket
    shutil.copytree(llama, folder / "llama")
    with pytest.raises(StoppedError):
        run("s3://inputs/llama", "model", store=store, stopping=lambda: True)


def test_an_unreachable_hub_is_worth_another_attempt(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, and no UserError: the network may come back."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StageError, match="hf://org/name@v1: the hub cannot be reached") as caught:
        run("hf://org/name@v1", "model")
    assert (caught.value.code, caught.value.reason) == ("retry", "SourceUnavailable")
    assert "\n" not in str(caught.value)


def test_a_hub_uri_needs_its_form(run: Run) -> None:
    """A wrong one fails for good."""
    with pytest.raises(UserError, match="is not hf://org/name@revision"):
        run("hf://name", "model")


def test_a_model_on_a_real_server_can_be_fetched_later(
    run: Run, llama: Path, minio: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    out, output = run(f"s3://{inputs}/team/llama/", "model", store=opened)
    assert len(output.external) == len(list(llama.iterdir()))
    draft = Manifest(kind="import", key="0a", shard=0, shards=1, files=(), inputs={}, config={})
    publishing.publish(opened, "team", draft, out, output.external)
    found = publishing.find(opened, "team", "import", "0a")
    assert found is not None
    publishing.fetch(opened, "team", "import", "0a", found.digest, tmp_path / "back")
    for path in llama.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(UserError, match="there is nothing"):
        run(f"s3://{inputs}/team/lla", "model", store=opened)
