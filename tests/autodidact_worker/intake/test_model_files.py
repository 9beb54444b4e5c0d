"""Nothing that could run code, or that is not what it says, gets past the first look."""

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import UserError
from support.poison import tensors


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A harmless model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(tensors((0, 4), (4, 16)))
    return folder


def test_a_harmless_model_passes(model: Path) -> None:
    """What transformers writes is accepted, chat template included."""
    (model / "chat_template.jinja").write_text("{{ messages }}")
    (model / "generation_config.json").write_text("{}")
    model_files.check(model)


def test_a_model_that_transformers_wrote_passes(llama: Path) -> None:
    """A real saved model is accepted."""
    model_files.check(llama)
    assert model_files.check_safetensors(llama / "model.safetensors") > 10


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model.pt",
        "model.pth",
        "weights.pkl",
        "last.ckpt",
        "arrays.npz",
        "flax_model.msgpack",
    ],
)
def test_pickled_weights_alone_are_refused(name: str) -> None:
    """The sentence names the file and says how to convert it."""
    with pytest.raises(UserError, match=rf"{name} may run code.*save_pretrained") as caught:
        model_files.select([name, "config.json", "tokenizer.json"])
    assert caught.value.reason == "UnsafeModel"


def test_pickled_weights_beside_safetensors_stay_behind() -> None:
    """They are ignored, as are code, text and folders; what is needed is taken."""
    chosen = model_files.select(
        [
            "model.safetensors",
            "pytorch_model.bin",
            "config.json",
            "tokenizer.json",
            "modeling_evil.py",
            "README.md",
            "original/model.safetensors",
            "../config.json",
            ".gitattributes",
        ]
    )
    assert chosen.taken == ("config.json", "model.safetensors", "tokenizer.json")
    assert len(chosen.ignored) == 6


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["config.json", "tokenizer.json"], "no weights"),
        (["model.safetensors", "tokenizer.json"], "no config.json"),
        (["model.safetensors", "config.json"], "no tokenizer"),
        ([], "found: nothing"),
    ],
)
def test_incomplete_models_are_refused(names: list[str], missing: str) -> None:
    """The sentence says what is missing."""
    with pytest.raises(UserError, match=missing) as caught:
        model_files.select(names)
    assert caught.value.reason == "InvalidModel"


@pytest.mark.parametrize("key", ["auto_map", "custom_pipelines", "trust_remote_code"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_json_that_names_code_is_refused(model: Path, name: str, key: str) -> None:
    """Also when it is nested, as in multi-part configs."""
    (model / name).write_text(json.dumps({"text_config": [{key: {"AutoModel": "x.y"}}]}))
    with pytest.raises(UserError, match=rf"{name} has {key}") as caught:
        model_files.check(model)
    assert caught.value.reason == "UnsafeModel"


def test_a_token_may_be_any_word(model: Path) -> None:
    """In a vocabulary, auto_map is only a word."""
    (model / "vocab.json").write_text('{"auto_map": 1}')
    model_files.check(model)


def _text(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def _weights(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors").write_bytes(data) and None


def _evil(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))


def _zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.safetensors", "w") as file:
        file.writestr("../../etc/passwd", "x")


def _sparse(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 10 << 30))
        file.truncate(10 << 30)


def _huge(folder: Path) -> None:
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(model_files.MAX_SMALL + 1)


_SHAPE = {"t9": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}


@pytest.mark.parametrize(
    ("poison", "says"),
    [
        (_evil, "safetensors"),
        (_zip, "safetensors"),
        (_sparse, "says its header has 10737418240"),
        (_huge, "more than the"),
        (_weights(b""), "it has 0 bytes"),
        (_weights(struct.pack("<Q", 1 << 62) + b"{}"), "says its header has"),
        (_weights(struct.pack("<Q", 2) + b"{]"), "broken header"),
        (_weights(struct.pack("<Q", 2) + b"[]"), "broken header"),
        (_weights(struct.pack("<Q", 2) + b"{}"), "no tensors"),
        (_weights(struct.pack("<Q", 40000) + b"[" * 40000), "broken header"),
        (_weights(tensors((0, 4), (2, 6))), "overlap at byte 2"),
        (_weights(tensors((0, 4), (5, 6))), "gap at byte 4"),
        (_weights(tensors((0, 4), size=9)), "gap at byte 4 of 9"),
        (_weights(tensors((0, 9), size=4)), "overlap at byte 4 of 4"),
        (_weights(tensors((0, 4), **_SHAPE)), "do not match its type and shape"),
        (_weights(tensors((0, 4), dtype="PYOBJ")), "type 'PYOBJ'"),
        (_text("config.json", "{"), "config.json is not JSON"),
        (_text("config.json", "[" * 100000), "config.json is not JSON"),
        (_text("model.safetensors.index.json", "{}"), "has no weight_map"),
        (
            _text(
                "model.safetensors.index.json",
                '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
            ),
            "names model-00001-of-00002.safetensors, which is missing",
        ),
        (_text("evil.py", "import os"), "evil.py is not a file a model may have"),
    ],
)
def test_poisoned_directories_are_refused(
    model: Path, poison: Callable[[Path], None], says: str
) -> None:
    """Each is refused with a sentence, and nothing is unpickled or loaded on the way."""
    poison(model)
    with pytest.raises(UserError, match=says):
        model_files.check(model)


def test_links_are_refused(model: Path, tmp_path: Path) -> None:
    """A link may lead anywhere, even if its name is fine."""
    (tmp_path / "secret.json").write_text("{}")
    (model / "generation_config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UserError, match="links are not followed"):
        model_files.check(model)


def test_pipes_are_refused(model: Path) -> None:
    """A pipe would block whoever reads it."""
    os.mkfifo(model / "merges.txt")
    with pytest.raises(UserError, match="not a plain file"):
        model_files.check(model)


def test_shards_need_their_index(model: Path) -> None:
    """Weights in parts without an index cannot be put together."""
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    with pytest.raises(UserError, match=r"no model\.safetensors\.index\.json"):
        model_files.check(model)
