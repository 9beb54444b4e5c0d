"""What people get wrong: one clear sentence on the run, and nothing left at work.

All runs of this module work on real workers and side by side; each test looks at its own.
"""

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autodidact_worker.toys import copying
from support import manifests
from support.deployed import House, Place, conditions, message, why
from tools.cluster.waiting import eventually
from tools.installation import BUCKET

Files = Mapping[str, bytes]
ROW = {"prompt": "Aabcde:", "response": "abcde"}
LOGIN = "somewhere-else"
TIMEOUT_S = 300


def _lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A mistake.

    Attributes:
        reason: What the run must give as its reason.
        words: What its sentence must hold; `{inputs}` is where the files lie.
        files: Objects to put below `{inputs}`.
        spec: Changes of the tiny run's spec.
        kind: Short name of the run's kind.
    """

    reason: str
    words: tuple[str, ...]
    spec: Mapping[str, Any]
    files: Files | Callable[[], Files] = field(default_factory=dict)
    kind: str = "srr"


def _weights(value: float = 0.5) -> bytes:
    header = {"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<f", value)


def _poisoned() -> Files:
    """Returns the toy's model with weights that are not numbers."""
    import tempfile  # noqa: PLC0415 - one case needs it

    with tempfile.TemporaryDirectory() as folder:
        copying.write_model(Path(folder), 0)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    raw = bytearray(files["model.safetensors"])
    (length,) = struct.unpack("<Q", raw[:8])
    raw[8 + length :] = struct.pack("<f", float("nan")) * ((len(raw) - 8 - length) // 4)
    return {**files, "model.safetensors": bytes(raw)}


def _model(name: str = "model") -> dict[str, Any]:
    return {"model": {"uri": f"{{inputs}}/{name}"}}


def _instructions(name: str = "data.jsonl", **more: str) -> dict[str, Any]:
    return {"data": {"instructions": {"uri": f"{{inputs}}/{name}", **more}}}


def _questions(name: str = "train.jsonl") -> dict[str, Any]:
    return {"data": {"train": {"uri": f"{{inputs}}/{name}"}}}


def _question(name: str, answer: str) -> dict[str, str]:
    return {"id": name, "question": f"{len(name)}+1", "reasoning": "3", "answer": answer}


def _unanswerable(number: int) -> dict[str, str]:
    return {**_question(f"q{number}", "never"), "question": f"{number}+1", "reasoning": "1"}


CONFIG, TOKENIZER = b'{"model_type": "llama"}', b"{}"
CASES = {
    "missing model": Case(
        reason="SourceNotFound",
        words=("{inputs}/model", "there is nothing", "correct the uri"),
        spec=_model(),
    ),
    "unreadable model": Case(
        reason="InvalidModel",
        words=("{inputs}/model", "model.safetensors"),
        spec=_model(),
        files={
            "model/config.json": CONFIG,
            "model/tokenizer.json": TOKENIZER,
            "model/model.safetensors": b"these are no tensors at all",
        },
    ),
    "pickled weights": Case(
        reason="UnsafeModel",
        words=("pytorch_model.bin", "may run code", "save_pretrained"),
        spec=_model(),
        files={
            "model/config.json": CONFIG,
            "model/tokenizer.json": TOKENIZER,
            "model/pytorch_model.bin": b"\x80\x04.",
        },
    ),
    "model with code": Case(
        reason="UnsafeModel",
        words=("config.json", "auto_map"),
        spec=_model(),
        files={
            "model/config.json": b'{"model_type": "llama", "auto_map": {"AutoModel": "evil.Evil"}}',
            "model/tokenizer.json": TOKENIZER,
            "model/model.safetensors": _weights(),
        },
    ),
    "missing column": Case(
        reason="InvalidData",
        words=("{inputs}/data.jsonl", "line 2", "response", "prompt, response"),
        spec=_instructions(),
        files={"data.jsonl": _lines(ROW, {"prompt": "Aabcde:", "answer": "abcde"})},
    ),
    "empty file": Case(
        reason="InvalidData",
        words=("{inputs}/data.jsonl", "no rows", "give at least one"),
        spec=_instructions(),
        files={"data.jsonl": b""},
    ),
    "broken line": Case(
        reason="InvalidData",
        words=("{inputs}/data.jsonl", "line 3", "JSON"),
        spec=_instructions(),
        files={"data.jsonl": _lines(ROW, ROW) + b'{"prompt": "A\n'},
    ),
    "row over the context": Case(
        reason="PromptTooLong",
        words=("train-sft", "row 2", "maxLength"),
        spec=_instructions(),
        files={"data.jsonl": _lines(ROW, {"prompt": "A" * 500, "response": "a"})},
    ),
    "bucket that does not exist": Case(
        reason="BucketMissingError",
        words=("no-such-bucket",),
        spec={"model": {"uri": "s3://no-such-bucket/model", "secretName": "right"}},
    ),
    "wrong login of a source": Case(
        reason="AccessDeniedError",
        words=(BUCKET,),
        spec=_instructions(secretName="wrong"),
        files={"data.jsonl": _lines(ROW)},
    ),
    "unknown toy": Case(
        reason="InvalidSource",
        words=("toy://selfreward/modle", "toy://selfreward/model"),
        spec={"model": {"uri": "toy://selfreward/modle"}},
    ),
    "loss that is not a number": Case(
        reason="NaNLoss",
        words=("train-sft", "step 1", "lower learningRate"),
        spec={**_model(), "warmUp": {"learningRate": 1}},
        files=lambda: {f"model/{name}": data for name, data in _poisoned().items()},
    ),
    "judge that never scores": Case(
        reason="JudgeUnreadable",
        words=("judge-1", "is 0", "0.5", "data.evaluations"),
        spec={
            "data": {"evaluations": None},
            "gates": {"minParseRate": {"limit": 0.5, "action": "Fail"}},
        },
    ),
    "answers that are no numbers": Case(
        reason="UnreadableAnswers",
        words=("2 of 3 gold answers", "q1", "q2", "answers.kind"),
        spec=_questions(),
        files={
            "train.jsonl": _lines(
                _question("q0", "3"), _question("q1", "three"), _question("q2", "?")
            )
        },
        kind="reft",
    ),
    "two questions of one id": Case(
        reason="DuplicateIds",
        words=("{inputs}/train.jsonl", "q7"),
        spec=_questions(),
        files={"train.jsonl": _lines(_question("q7", "3"), _question("q7", "4"))},
        kind="reft",
    ),
    "questions without reasoning": Case(
        reason="MissingReasoning",
        words=("1 of 1 training questions", "q0", "add it"),
        spec=_questions(),
        files={"train.jsonl": _lines({**_question("q0", "3"), "reasoning": ""})},
        kind="reft",
    ),
    "questions over the limit": Case(
        reason="PromptTooLong",
        words=("q0", "tokens", "maxQuestionTokens"),
        spec=_questions(),
        files={"train.jsonl": _lines({**_question("q0", "3"), "question": "1+" * 400 + "1"})},
        kind="reft",
    ),
    "no reward at all": Case(
        reason="NoReward",
        words=("train-reft", "reward"),
        spec={
            # Answers of text cannot be half right, and nobody ever wrote this one.
            **_questions(),
            # One of the baselines learns from rewards as well, and might be the first to say.
            "baselines": [],
            "reranker": {"enabled": False},
            "answers": {"kind": "text"},
            "gates": {"minWarmUpAccuracy": {"limit": 0}},
        },
        files={"train.jsonl": _lines(*(_unanswerable(i) for i in range(64)))},
        kind="reft",
    ),
}


@pytest.fixture(scope="module")
def bad(house: House, shared_place: Place) -> Place:
    """All the mistakes made at once."""
    store = house.cluster.minio
    for name, secret in (("right", store.secret_key), ("wrong", "x" * 40)):
        data = {"accessKey": store.access_key, "secretKey": secret, "endpoint": store.url}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": data,
        }
        shared_place.apply(body)
    minio = house.installed.minio()
    for name, case in CASES.items():
        files = case.files() if callable(case.files) else case.files
        for key, data in files.items():
            place = f"inputs/{shared_place.namespace}/{_slug(name)}/{key}"
            minio.put_object(BUCKET, place, io.BytesIO(data), len(data))
        text = json.dumps(case.spec).replace("{inputs}", _inputs(shared_place, name))
        make = manifests.tiny if case.kind == "srr" else manifests.tiny_reft
        body = make(shared_place.namespace, _slug(name), backoffLimit=0)
        body = manifests.merged(body, {"spec": json.loads(text)})
        heldout = body["spec"]["data"]
        body["spec"]["data"] = {key: value for key, value in heldout.items() if value}
        shared_place.apply(body)
    return shared_place


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_explained(bad: Place, name: str) -> None:
    """The run fails with its reason and a sentence that says what, where and what to do."""
    case = CASES[name]
    bad = bad.of(case.kind)
    status = bad.until_ended(_slug(name), TIMEOUT_S)
    text = message(status)
    assert (status["phase"], why(status)) == ("Failed", case.reason), text
    places = {"inputs": _inputs(bad, name), "namespace": bad.namespace}
    for word in case.words:
        assert word.format(**places) in text
    assert "Traceback" not in text
    assert "\n" not in text
    assert len(text) < 600
    assert conditions(status)["Stalled"] == "True"
    eventually(lambda: not bad.active_jobs(_slug(name)))


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://{bucket}/inputs/other/data.jsonl", ("{namespace}", "secretName")),
        ("s3://{bucket}/inputs/{namespace}/../other/data.jsonl", ("'..'",)),
        ("file:///etc/passwd", ("local mode", "upload the data to S3")),
    ],
)
def test_a_location_that_is_not_open_is_refused(
    shared_place: Place, uri: str, words: tuple[str, ...]
) -> None:
    """Kubectl apply fails for what belongs to others, and says what may be used."""
    places = {"bucket": BUCKET, "namespace": shared_place.namespace}
    source = {"uri": uri.format(**places)}
    for body in (
        manifests.tiny(shared_place.namespace, data={"instructions": source}),
        manifests.tiny_reft(shared_place.namespace, data={"train": source}),
    ):
        text = shared_place.refusal(body, "--dry-run=server")
        assert all(word.format(**places) in text for word in words), text


def test_an_operator_with_wrong_credentials_says_so_and_recovers(
    house: House, place: Place
) -> None:
    """Runs show that the operator cannot read the store, and go on when its Secret is right."""
    name = f"late-{place.namespace}"
    try:
        house.installed.give_store("autodidact-system", secret_key="x" * 40)
        house.kill_operator()  # It would see the new Secret, but not at once.
        house.until_operating()
        place.apply(manifests.scripted(place.namespace, name))
        text = place.until_says(name, "StoreAccessDenied")
        assert BUCKET in text
    finally:
        house.installed.give_store("autodidact-system")
    assert place.until_ended(name)["phase"] == "Succeeded"


def _slug(name: str) -> str:
    return name.replace(" ", "-").replace("'", "")


def _inputs(place: Place, name: str) -> str:
    return f"s3://{BUCKET}/inputs/{place.namespace}/{_slug(name)}"
