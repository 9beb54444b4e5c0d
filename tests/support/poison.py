"""Poisoned models and data, made when they are needed; no file of them is kept.

Each poison changes a harmless folder. ``SAYS`` of a case is what the refusal must say: the file,
and what is wrong with it.
"""

import gzip
import io
import json
import os
import pickle
import socket
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKEN = "planted-token"  # noqa: S105 - the name of a file
MARK = "ran"
"""A directory that appears beside the model when its code is run."""

Poison = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A poisoned folder.

    Attributes:
        name: Of the case.
        poison: Puts the poison into a harmless folder.
        says: Pattern of the refusal.
    """

    name: str
    poison: Poison
    says: str


def tensors(
    *spans: tuple[int, int], size: int | None = None, dtype: str = "U8", **header: Any
) -> bytes:
    """A safetensors file with one tensor a span, and ``size`` bytes of data."""
    entries: dict[str, Any] = {
        f"t{i}": {"dtype": dtype, "shape": [end - start], "data_offsets": [start, end]}
        for i, (start, end) in enumerate(spans)
    }
    raw = json.dumps(entries | header).encode()
    return framed(raw) + bytes(max(end for _, end in spans) if size is None else size)


def framed(header: bytes) -> bytes:
    """A safetensors header with its length."""
    return struct.pack("<Q", len(header)) + header


def write_model(folder: Path) -> None:
    """Writes a model that is harmless, as far as can be seen without loading it."""
    folder.mkdir()
    config = {"model_type": "llama", "vocab_size": 100, "num_hidden_layers": 2, "rope_theta": 5e9}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text('{"eos_token_id": 1}')
    pattern = {"Regex": r"'s| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"}
    splitting = {"type": "Split", "pattern": pattern, "behavior": "Isolated"}
    (folder / "tokenizer.json").write_text(json.dumps({"pre_tokenizer": splitting}))
    told = {"chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / WEIGHTS).write_bytes(tensors((0, 4), (4, 16)))


class _Code:
    def __init__(self, folder: Path) -> None:
        self._mark = str(folder.parent / MARK)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._mark,)


def _bytes(name: str, data: bytes) -> Poison:
    return lambda folder: (folder / name).write_bytes(data)


def _json(name: str, value: Any) -> Poison:
    return _bytes(name, json.dumps(value).encode())


def _pickle(name: str) -> Poison:
    """A pickle under that name and no other weights."""

    def poison(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / name).write_bytes(pickle.dumps(_Code(folder)))

    return poison


def _config(**fields: Any) -> Poison:
    return _json("config.json", {"model_type": "llama", **fields})


def _sparse(name: str, size: int, begin: bytes = b"") -> Poison:
    def poison(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.write(begin)
            file.truncate(size)

    return poison


def _renamed(old: str, new: str) -> Poison:
    return lambda folder: (folder / old).rename(folder / new)


def _sharded(shard: Any) -> Poison:
    return _json(INDEX, {"metadata": {}, "weight_map": {"t0": WEIGHTS, "t1": shard}})


def _pattern(part: str, pattern: str) -> Poison:
    item = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return _json("tokenizer.json", {part: {"type": "Sequence", "pretokenizers": [item]}})


def _template(text: str) -> Poison:
    return _bytes("chat_template.jinja", text.encode())


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return buffer.getvalue()


def _tar(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def _only(name: str, data: bytes) -> Poison:
    """That file and nothing else."""

    def poison(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        (folder / name).write_bytes(data)

    return poison


_UP = "../../etc/cron.d/evil"
_ARCHIVED = ("config.json", _UP, "/etc/passwd")
_TENSOR = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


def _header(data: bytes = bytes(4), **change: Any) -> Poison:
    return _bytes(WEIGHTS, framed(json.dumps({"t": _TENSOR | change}).encode()) + data)


_FAR = 1 << 43
_FAR_HEADER = framed(
    json.dumps({"t": {"dtype": "U8", "shape": [_FAR], "data_offsets": [0, _FAR]}}).encode()
)
_TWICE = b'{"t": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "t": %s}'

CODE = ("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code")
CONFIGS = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.json",
)
PICKLES = (
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state_0.pth",
    "consolidated.00.pth",
    "weights.pkl",
    "model.pickle",
    "last.ckpt",
    "model.joblib",
    "arrays.npy",
    "flax_model.msgpack",
    "PYTORCH_MODEL.BIN",
)

MODELS: tuple[Case, ...] = (
    *(Case(name, _pickle(name), rf"{name} may run code.*save it again") for name in PICKLES),
    Case("pickle as weights", _pickle(WEIGHTS), f"{WEIGHTS} .*safetensors"),
    Case("pickle as config", _bytes("config.json", pickle.dumps({})), "config.json is not JSON"),
    Case("torch's zip as weights", _bytes(WEIGHTS, _zip("archive/data.pkl")), f"{WEIGHTS} is no"),
    Case("gguf", _renamed(WEIGHTS, "model.gguf"), "no weights.*model.gguf"),
    Case("hdf5", _renamed(WEIGHTS, "tf_model.h5"), "no weights.*tf_model.h5"),
    *(
        Case(f"{key} in {name}", _json(name, {"a": [{key: {"AutoModel": "evil.Model"}}]}), f"{name} has {key}")
        for name in CONFIGS
        for key in CODE
    ),
    Case("kernel", _config(attn_implementation="evil/kernel"), "config.json has attn_impl.*remove"),
    Case(
        "kernel of a part",
        _config(_attn_implementation={"text_config": "evil/kernel@main"}),
        "config.json has _attn_implementation",
    ),
    # Numbers.
    Case("vocabulary", _config(vocab_size=10**12), "config.json has vocab_size 1000000000000, but"),
    Case("vocabulary, float", _config(vocab_size=1e12), "config.json has vocab_size 1000000000000.0"),
    Case("vocabulary, NaN", _config(vocab_size=float("nan")), "config.json has vocab_size nan"),
    Case("width", _config(hidden_size=1 << 40), "config.json has hidden_size .*correct it"),
    Case("endless", _config(intermediate_size=float("inf")), "config.json has intermediate_size inf"),
    Case("layers", _config(num_hidden_layers=10**9), "config.json has num_hidden_layers 1000000000"),
    Case("no layers", _config(num_hidden_layers=-1), "config.json has num_hidden_layers -1"),
    Case("GPT-2's layers", _config(n_layer=10**6), "config.json has n_layer 1000000"),
    Case("heads", _config(num_attention_heads=1 << 30), "config.json has num_attention_heads"),
    Case("experts", _config(text_config={"num_experts": 10**6}), "config.json has num_experts"),
    Case("positions", _config(n_positions=1 << 30), "config.json has n_positions"),
    Case("digits", _bytes("config.json", b'{"a": %s}' % (b"9" * 5000)), "config.json is not JSON"),
    # JSON.
    Case("deep lists", _bytes("config.json", b"[" * 100_000), "config.json is not JSON"),
    Case("deep objects", _bytes("config.json", b'{"a":' * 100_000), "config.json is not JSON"),
    Case("wide", _bytes("tokenizer.json", b"[%s0]" % (b"{}," * (1 << 22))), "tokenizer.json.*4194304 values"),
    Case("numbers", _bytes("vocab.json", b"[%s0]" % (b"0," * (1 << 22))), "vocab.json.*4194304 values"),
    Case("a key twice", _bytes("config.json", b'{"a": {"auto_map": 1, "auto_map": 2}}'), "config.json.*'auto_map' is there twice"),
    Case("no UTF-8", _bytes("tokenizer_config.json", b'{"a": "\xff"}'), "tokenizer_config.json is not JSON"),
    Case("UTF-16", _bytes("config.json", '{"auto_map": 1}'.encode("utf-16")), "config.json is not JSON"),
    Case("byte order mark", _bytes("config.json", b"\xef\xbb\xbf{}"), "config.json is not JSON.*BOM"),
    Case("a large config", _sparse("config.json", (1 << 20) + 1), "config.json has 1048577 bytes.*save"),
    Case("a large tokenizer", _sparse("tokenizer.json", (64 << 20) + 1), "tokenizer.json has 67108865"),
    # Safetensors.
    Case("no header", _bytes(WEIGHTS, b""), f"{WEIGHTS} .*0 bytes.*upload it again"),
    Case("half a length", _bytes(WEIGHTS, b"\x02\0"), f"{WEIGHTS} .*has 2 bytes"),
    Case("endless header", _bytes(WEIGHTS, struct.pack("<Q", (1 << 64) - 1)), f"{WEIGHTS} .*header"),
    Case("negative header", _bytes(WEIGHTS, struct.pack("<q", -8) + b"{}"), f"{WEIGHTS} .*header"),
    Case("large header", _sparse(WEIGHTS, 1 << 20, struct.pack("<Q", 1 << 32)), f"{WEIGHTS} .*4294967296"),
    Case("wide header", _bytes(WEIGHTS, framed(b'{"t":[%s0]}' % (b"{}," * (1 << 22)))), f"{WEIGHTS} has a broken header.*values"),
    Case("deep header", _bytes(WEIGHTS, framed(b"[" * 100_000)), f"{WEIGHTS} has a broken header"),
    Case("header in UTF-16", _bytes(WEIGHTS, framed("{}".encode("utf-16"))), f"{WEIGHTS} has a broken"),
    Case("list as header", _bytes(WEIGHTS, framed(b"[]")), f"{WEIGHTS} has a broken header"),
    Case("tensor twice", _bytes(WEIGHTS, framed(_TWICE % json.dumps(_TENSOR).encode()) + bytes(4)), f"{WEIGHTS}.*'t' is there twice"),
    Case("no tensors", _bytes(WEIGHTS, framed(b'{"__metadata__": {}}')), f"{WEIGHTS} has no tensors"),
    Case("overlap", _bytes(WEIGHTS, tensors((0, 4), (2, 6))), f"{WEIGHTS}: tensors overlap"),
    Case("gap", _bytes(WEIGHTS, tensors((0, 4), (5, 6))), f"{WEIGHTS}: tensors leave a gap"),
    Case("data behind", _bytes(WEIGHTS, tensors((0, 4), size=400)), f"{WEIGHTS}: tensors leave a gap"),
    Case("data missing", _bytes(WEIGHTS, tensors((0, 400), size=4)), f"{WEIGHTS}: tensors overlap"),
    Case("lying shape", _header(shape=[5]), f"{WEIGHTS} has a broken header"),
    Case("negative shape", _header(shape=[-2, -2]), f"{WEIGHTS} has a broken header"),
    Case("boolean shape", _header(shape=[True, 4]), f"{WEIGHTS} has a broken header"),
    Case("product of giants", _header(shape=[10**90] * 20_000), f"{WEIGHTS} has a broken header"),
    Case("backwards", _header(data_offsets=[4, 0]), f"{WEIGHTS} has a broken header"),
    Case("before the file", _header(data_offsets=[-4, 0]), f"{WEIGHTS} has a broken header"),
    Case("objects", _header(dtype="PYOBJECT"), f"{WEIGHTS} has a broken header"),
    # Shards.
    Case("shard outside", _sharded(_UP), rf"{INDEX} names \.\./.*, which is no file of weights"),
    Case("absolute shard", _sharded("/etc/passwd"), f"{INDEX} names /etc/passwd.*save"),
    Case("pickled shard", _sharded("pytorch_model.bin"), f"{INDEX} names pytorch_model.bin"),
    Case("shard that is none", _sharded([["x"] * 9]), rf"{INDEX} names \[\["),
    Case("shard missing", _sharded("model-00001-of-00002.safetensors"), f"{INDEX} names model-.*missing; upload"),
    Case("no map", _json(INDEX, {"weight_map": []}), f"{INDEX} has no weight_map"),
    Case("no index", _renamed(WEIGHTS, "model-00001-of-00001.safetensors"), f"no {INDEX}"),
    # Tokenizers.
    Case("repeated repeat", _pattern("pre_tokenizer", r"(\w+\s?)+$"), "tokenizer.json has the pattern.*write it"),
    Case("repeated choice", _pattern("normalizer", "(?:a|aa)+$"), "tokenizer.json has the pattern"),
    Case("repeats in a row", _pattern("decoder", r"\s*\s*\s*\s*x"), "tokenizer.json has the pattern"),
    Case("endless pattern", _pattern("pre_tokenizer", "(" * 50_000), "tokenizer.json has the pattern"),
    Case("replacements", _json("tokenizer.json", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 64}}), "tokenizer.json replaces short texts.*remove these"),
    # Names and archives.
    Case("full stop", _renamed("config.json", "config\u2024json"), r"no config.json.*config\\u2024json"),
    Case("full width", _renamed("config.json", "\uff43onfig.json"), r"no config.json.*\\uff43onfig.json"),
    Case("invisible", _renamed("config.json", "config.json\u200b"), r"no config.json.*json\\u200b"),
    Case("slash", _renamed(WEIGHTS, "..\u2215model.safetensors"), r"no weights.*\\u2215model"),
    Case("backslash", _renamed(WEIGHTS, "..\\model.safetensors"), "no weights|rename"),
    Case("line break", _renamed("config.json", "config.json\n"), r"no config.json.*json\\n|json\\n.*rename"),
    Case("upper case", _renamed("config.json", "CONFIG.JSON"), "no config.json.*CONFIG.JSON"),
    Case("zip", _only("model.zip", _zip(*_ARCHIVED)), "model.zip is an archive.*unpack it"),
    Case("tar", _only("model.tar.gz", _tar(*_ARCHIVED)), "model.tar.gz is an archive.*unpack it"),
)  # fmt: skip
"""Over folders, buckets and the hub."""

TEMPLATES: tuple[Case, ...] = (
    Case("range", _template("{% for i in range(10**9) %}{% endfor %}"), "chat_template.jinja .*Range too big"),
    Case("loops", _template("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"), "chat_template.jinja .*takes more than 2 s"),
    Case("recursion", _template("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}"), "chat_template.jinja .*RecursionError"),
    Case("memory", _template("{{ 'a' * 10 ** 10 }}"), "chat_template.jinja .*needs more than 512 MiB"),
    Case("doubling", _template("{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"), "chat_template.jinja .*needs more than"),
    Case("output", _template("{{ 'a' * 10 ** 7 }}"), "chat_template.jinja .*makes 10000000 characters"),
    Case("inside", _template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "chat_template.jinja .*Python's inside"),
    Case("inside, later", _template("{% if messages|length > 9 %}{{ x['__globals__'] }}{% endif %}"), "chat_template.jinja .*Python's inside: '__globals__'"),
    Case("nesting", _template("{{ " + "(" * 20_000 + ")" * 20_000 + " }}"), "chat_template.jinja .*RecursionError"),
    Case("files", _template("{% include '/etc/passwd' %}"), "chat_template.jinja .*no loader"),
    Case("length", _template("x" * (1 << 19)), "chat_template.jinja .*too long"),
    Case("size", _sparse("chat_template.jinja", (1 << 20) + 1), "chat_template.jinja has 1048577 bytes"),
    Case("no UTF-8", _bytes("chat_template.jinja", b"\xff"), "chat_template.jinja is not UTF-8"),
    Case("in the tokenizer", _json("tokenizer_config.json", {"chat_template": "{{ 'a' * 10 ** 10 }}"}), "tokenizer_config.json has a chat template"),
    Case("one of several", _json("tokenizer_config.json", {"chat_template": [{"name": "default", "template": "{{ x.__class__ }}"}]}), "tokenizer_config.json has a chat template"),
    Case("in the processor", _json("chat_template.json", {"chat_template": "{{ x.__class__ }}"}), "chat_template.json has a chat template"),
)  # fmt: skip
"""Each costs a process; they do not depend on where they come from."""


def _link(name: str, target: str) -> Poison:
    def poison(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.replace("@", str(folder.parent)))

    return poison


def _pipe(name: str) -> Poison:
    def poison(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return poison


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # A socket's path may have some 100 characters only.
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("vocab.json")
    finally:
        os.chdir(here)


def put_device(path: Path) -> None:
    """Makes what /dev/zero is; only root may."""
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


FOLDERS: tuple[Case, ...] = (
    Case("link to passwd", _link("config.json", "/etc/passwd"), "config.json is not a plain file.*copy it"),
    Case("link to a token", _link("tokenizer.json", f"@/{TOKEN}"), "tokenizer.json is not a plain file"),
    Case("link to weights", _link(WEIGHTS, f"@/{TOKEN}"), f"{WEIGHTS} is not a plain file"),
    Case("link to nothing", _link("generation_config.json", "/nonexistent"), "generation_config.json is not a plain"),
    Case("link to itself", _link("config.json", "config.json"), "config.json is not a plain file"),
    Case("link to a device", _link("vocab.txt", "/dev/zero"), "vocab.txt is not a plain file"),
    Case("link to a folder", _link("merges.txt", "@"), "merges.txt is not a plain file"),
    Case("pipe", _pipe("merges.txt"), "merges.txt is not a plain file"),
    Case("pipe as weights", _pipe(WEIGHTS), f"{WEIGHTS} is not a plain file"),
    Case("socket", _socket, "vocab.json is not a plain file"),
    Case("sparse text", _sparse("merges.txt", _FAR), f"merges.txt has {_FAR} bytes"),
    Case("sparse header", _sparse(WEIGHTS, 1 << 33, struct.pack("<Q", 1 << 32)), f"{WEIGHTS} .*4294967296"),
    Case("sparse weights", _sparse(WEIGHTS, len(_FAR_HEADER) + _FAR, _FAR_HEADER), f"{WEIGHTS} has .* bytes, more than the .* free"),
)  # fmt: skip
"""What only a file system has."""

_ROW = b'{"prompt": "a", "response": "b"}'


def _rows(*lines: bytes) -> Poison:
    return _only("rows.jsonl", b"\n".join((_ROW, *lines)) + b"\n")


DATA: tuple[Case, ...] = (
    Case("deep", _rows(b'{"a":' * 100_000), "rows.jsonl line 2: .*recursion"),
    Case("long", _rows(b'"%s"' % (b"x" * (16 << 20))), "rows.jsonl line 2: it has more than 16777216 bytes; write"),
    Case("wide", _rows(b"[%s0]" % (b"0," * (1 << 22))), "rows.jsonl line 2: it has more than 4194304 values"),
    Case("NaN", _rows(b'{"prompt": NaN, "response": "b"}'), "rows.jsonl line 2"),
    Case("digits", _rows(b'{"prompt": %s, "response": "b"}' % (b"9" * 5000)), "rows.jsonl line 2: .*write one JSON object a line"),
    Case("no UTF-8", _rows(b'{"prompt": "\xff", "response": "b"}'), "rows.jsonl line 2: .*UTF-8"),
    Case("half a character", _rows(rb'{"prompt": "\ud800", "response": "b"}'), "rows.jsonl line 2"),
    Case("byte order mark", _only("rows.jsonl", b"\xef\xbb\xbf" + _ROW), "rows.jsonl line 1: .*byte order mark"),
    Case("UTF-16", _only("rows.jsonl", _ROW.decode().encode("utf-16")), "rows.jsonl line 1: .*write"),
    Case("a key twice", _rows(b'{"prompt": "a", "prompt": "c", "response": "b"}'), "rows.jsonl line 2: 'prompt' is there twice"),
    Case("zeros", _rows(bytes(1000)), "rows.jsonl line 2"),
    Case("list", _rows(b"[1]"), "rows.jsonl line 2"),
    Case("zip under another name", _only("rows.jsonl", _zip(_UP)), "rows.jsonl line 1"),
    Case("tar under another name", _only("rows.jsonl", _tar(_UP)), "rows.jsonl line 1"),
    Case("pickle under another name", _only("rows.jsonl", pickle.dumps([])), "rows.jsonl line 1"),
    Case("zip", _only("rows.zip", _zip(_UP)), "found: rows.zip.*archives are not unpacked"),
    Case("gzip", _only("rows.jsonl.gz", gzip.compress(_ROW)), "found: rows.jsonl.gz.*not unpacked"),
    Case("parquet", _only("rows.parquet", b"PAR1"), "found: rows.parquet"),
)  # fmt: skip
"""Over folders, buckets and the hub."""


def _alone(poison: Poison) -> Poison:
    """Nothing but what that poison leaves."""

    def changed(folder: Path) -> None:
        _only("rows.jsonl", b"")(folder)
        poison(folder)

    return changed


DATA_FOLDERS: tuple[Case, ...] = (
    Case("link", _alone(_link("rows.jsonl", f"@/{TOKEN}")), "rows.jsonl is not a plain file.*copy it"),
    Case("link to a device", _alone(_link("rows.jsonl", "/dev/zero")), "rows.jsonl is not a plain"),
    Case("pipe", _alone(_pipe("rows.jsonl")), "rows.jsonl is not a plain file"),
    Case("sparse", _alone(_sparse("rows.jsonl", 1 << 40)), "rows.jsonl has 1099511627776 bytes.*fewer"),
)  # fmt: skip


def left_behind(folder: Path) -> Iterable[str]:
    """Puts what is never imported beside a good model and returns the names."""
    evil = {
        "pytorch_model.bin": pickle.dumps(_Code(folder)),
        "training_args.bin": pickle.dumps(_Code(folder)),
        "modeling_evil.py": b"import os",
        "processor_config.json": b'{"auto_map": {"AutoProcessor": "evil.P"}}',
        "preprocessor_config.json": b'{"auto_map": {"AutoImageProcessor": "evil.P"}}',
        "adapter_config.json": b'{"auto_mapping": {}, "base_model_name_or_path": "/etc"}',
        "custom_generate/generate.py": b"import os",
        "additional_chat_templates/tool_use.jinja": b"{{ x.__class__ }}",
        "original/model.safetensors": b"",
        "Config.json": b'{"auto_map": {}}',
        "config.json\u200b": b'{"auto_map": {}}',
        "model\u2215config.json": b"{}",
    }
    for name, data in evil.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return evil
