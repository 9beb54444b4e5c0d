"""The corpus of poisoned models and data: each is refused, and nobody opens it before that."""

import pickle
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from autodidact_contract.environment import SOURCE_CREDENTIALS
from autodidact_contract.stages.data import Import
from autodidact_store import Entry, open_store
from autodidact_worker.intake import model_files, sources
from autodidact_worker.models import loading
from autodidact_worker.runtime.errors import StageError, UserError
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.stages import import_
from support import hub, poison
from support.poison import Case

pytestmark = pytest.mark.training

PARSERS = ("jinja2", "safetensors", "sentencepiece", "tarfile", "tokenizers", "torch")
PARSERS += ("transformers", "zipfile")
SECONDS = 20.0
"""Of this process's processor time."""
MEMORY = 1 << 30

PLACES = ("folder", "bucket", "foreign bucket", "hub")
Bring = Callable[[Path, str], tuple[Path, Output]]


def _opened(*_: object, **__: object) -> None:
    raise AssertionError("somebody opened it")


def _spent(*_: object) -> None:
    raise AssertionError(f"more than {SECONDS} s of processor time")


@contextmanager
def guarded() -> Iterator[None]:
    """While a poison is about, no parser can be imported, and time and memory are short."""
    import huggingface_hub.file_download  # noqa: F401, PLC0415 - before the parsers are gone

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load", "loads", "Unpickler"):
            patch.setattr(pickle, name, _opened)
        for name in PARSERS:
            patch.setitem(sys.modules, name, None)
        handler = signal.signal(signal.SIGVTALRM, _spent)
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, handler)


class Bucket:
    """A directory that answers for a bucket."""

    def __init__(self, name: str, folder: Path) -> None:
        self._store = open_store(str(folder))
        self.uri = f"s3://{name}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A harmless model with a secret beside it."""
    place = tmp_path / "source"
    place.mkdir()
    (place / poison.TOKEN).write_text("secret")
    poison.write_model(place / "model")
    return place / "model"


@pytest.fixture(params=PLACES)
def bring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bring:
    """Imports a folder as it is, as a bucket of ours or of somebody else, or over the hub."""
    kind = request.param
    monkeypatch.delenv(SOURCE_CREDENTIALS, raising=False)

    def call(source: Path, content: str) -> tuple[Path, Output]:
        if kind == "folder":
            return run(source.as_uri(), content, tmp_path)
        if kind == "hub":
            with hub.serving(source) as (url, _):
                monkeypatch.setenv("HF_ENDPOINT", url)
                data = "" if content == "model" else "datasets/"
                return run(f"hf://{data}org/name@{hub.COMMIT}", content, tmp_path)
        if kind == "foreign bucket":
            (tmp_path / "credentials").mkdir()
            monkeypatch.setenv(SOURCE_CREDENTIALS, str(tmp_path / "credentials"))
        monkeypatch.setattr(sources, "open_store", lambda *_: Bucket("inputs", source.parent))
        store = Bucket("artifacts", source.parent)
        return run(f"s3://inputs/{source.name}/", content, tmp_path, store=store)

    return call


def run(uri: str, content: str, place: Path, **fields: Any) -> tuple[Path, Output]:
    """Runs the stage and returns its folder and its output."""
    out, scratch = place / "out", place / "scratch"
    out.mkdir()
    scratch.mkdir()
    config = Import(uri=uri, content=content, seed=0)
    return out, import_.run(Context(config=config, inputs={}, out=out, scratch=scratch, **fields))


def refused(case: Case, folder: Path, work: Callable[[], object]) -> None:
    """Asserts that work on a poisoned folder ends in the refusal, without having run anything."""
    with pytest.raises(UserError, match=rf"(?s){case.says}") as caught, guarded():
        work()
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()
    assert not (folder.parent / poison.MARK).exists()
    assert (folder.parent / poison.TOKEN).read_text() not in str(caught.value)


def everywhere(found: tuple[Case, ...]) -> Any:
    """Parametrises a test with cases from folders and buckets, and some of them from elsewhere.

    What is copied from a bucket or the hub is checked as a folder is.
    """
    pairs = [(place, case) for case in found for place in PLACES[:2]]
    pairs += [(place, case) for case in found[::6] for place in PLACES[2:]]
    names = [f"{place}-{case.name}" for place, case in pairs]
    return pytest.mark.parametrize(("bring", "case"), pairs, ids=names, indirect=["bring"])


def cases(found: tuple[Case, ...]) -> Any:
    """Parametrises a test with cases."""
    return pytest.mark.parametrize("case", found, ids=[case.name for case in found])


def test_the_corpus_is_large_and_no_case_is_there_twice() -> None:
    """There are 140 cases at least, under names of their own."""
    corpora = (poison.MODELS, poison.TEMPLATES, poison.FOLDERS, poison.DATA, poison.DATA_FOLDERS)
    for corpus in corpora:
        assert len({case.name for case in corpus}) == len(corpus)
    assert sum(map(len, corpora)) >= 140


def test_the_harmless_model_is_imported(bring: Bring, folder: Path) -> None:
    """So what is refused is refused for its poison; nobody opens a good model either."""
    names = {path.name for path in folder.iterdir()}
    with guarded():
        out, output = bring(folder, "model")
    assert {path.name for path in out.iterdir()} | {f.path for f in output.external} == names


@everywhere(poison.MODELS)
def test_poisoned_models_are_refused(bring: Bring, folder: Path, case: Case) -> None:
    """Wherever they come from, the sentence names the file, before any parser sees it."""
    case.poison(folder)
    refused(case, folder, lambda: bring(folder, "model"))


@cases(poison.TEMPLATES)
def test_poisoned_templates_are_refused(tmp_path: Path, folder: Path, case: Case) -> None:
    """They are tried in a process of their own that is short of time and memory."""
    case.poison(folder)
    refused(case, folder, lambda: run(folder.as_uri(), "model", tmp_path))


@cases(poison.FOLDERS)
def test_poisoned_folders_are_refused(tmp_path: Path, folder: Path, case: Case) -> None:
    """Links, pipes, sockets and sparse files are neither followed, opened nor copied."""
    case.poison(folder)
    refused(case, folder, lambda: run(folder.as_uri(), "model", tmp_path))


@everywhere(poison.DATA)
def test_poisoned_data_is_refused(bring: Bring, folder: Path, case: Case) -> None:
    """Wherever it comes from, the sentence names file and line."""
    case.poison(folder)
    refused(case, folder, lambda: bring(folder, "instructions"))


@cases(poison.DATA_FOLDERS)
def test_poisoned_data_folders_are_refused(tmp_path: Path, folder: Path, case: Case) -> None:
    """As for models."""
    case.poison(folder)
    refused(case, folder, lambda: run(folder.as_uri(), "instructions", tmp_path))


def test_devices_are_not_read(tmp_path: Path, folder: Path) -> None:
    """A device under a name that may be imported would never end."""
    try:
        poison.put_device(folder / "added_tokens.json")
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(UserError, match=r"added_tokens\.json is not a plain file"), guarded():
        run(folder.as_uri(), "model", tmp_path)


def test_what_is_not_needed_stays_behind(bring: Bring, folder: Path) -> None:
    """Pickles, code, processors, adapters and look-alikes beside a good model are not imported."""
    names = {path.name for path in folder.iterdir()}
    evil = poison.left_behind(folder)
    with guarded():
        out, output = bring(folder, "model")
    assert {path.name for path in out.iterdir()} | {f.path for f in output.external} == names
    assert output.counts["ignored"] == len(list(evil))


@cases(poison.MODELS)
def test_loaders_refuse_them_as_well(folder: Path, case: Case) -> None:
    """A poisoned folder that reached a later stage is refused before it is loaded."""
    case.poison(folder)
    with pytest.raises(UserError), guarded():
        model_files.check(folder)


def test_models_are_checked_before_they_are_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the tokenizer nor the weights of a poisoned folder are opened."""
    import transformers  # noqa: PLC0415 - seconds to import

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", _opened)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", _opened)
    (folder / "config.json").write_text('{"auto_map": {}}')
    with pytest.raises(UserError, match=r"config\.json has auto_map"):
        loading.load(folder)


class Keys:
    """A bucket that lists keys no directory can have; nothing may be read from it."""

    uri = "s3://inputs"

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yields them."""
        for key in self._keys:
            assert key.startswith(prefix)
            yield Entry(key=key, size=10, etag="x")

    def stream(self, location: str) -> Iterator[bytes]:
        """Must not be asked."""
        raise AssertionError(location)


@pytest.mark.parametrize(
    "key",
    ["model/../../rows.jsonl", "model//rows.jsonl", "model/a\0/rows.jsonl", "model/./rows.jsonl"],
)
def test_keys_that_are_paths_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A key may hold anything; what would be another place in a folder is not read."""
    monkeypatch.setattr(sources, "open_store", lambda *_: Keys(key))
    with pytest.raises(UserError, match="rename"):
        run("s3://inputs/model/", "instructions", tmp_path)


@pytest.mark.parametrize("listed", [10, 10**6])
def test_a_list_that_lies_about_sizes_is_noticed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, listed: int
) -> None:
    """An object that is longer or shorter than it was listed is not taken; it may have changed."""

    class Lying(Bucket):
        def entries(self, prefix: str) -> Iterator[Entry]:
            for entry in self._store.entries(prefix):
                yield Entry(key=entry.key, size=listed, etag=entry.etag)

    monkeypatch.delenv(SOURCE_CREDENTIALS, raising=False)
    monkeypatch.setattr(sources, "open_store", lambda *_: Lying("inputs", folder.parent))
    with pytest.raises(
        StageError, match=r"config\.json had \d+ bytes when it was listed"
    ) as caught:
        run("s3://inputs/model/", "model", tmp_path)
    assert (caught.value.code, caught.value.reason) == ("retry", "SourceChanged")
