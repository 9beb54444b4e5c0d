"""The kinds as people and tools meet them: examples, explain, columns, and what is refused."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from support import manifests
from support.deployed import House, Place
from tools.paths import EXAMPLES

Body = dict[str, Any]
EXAMPLE_FILES = sorted(EXAMPLES.glob("*.yaml"))


@pytest.fixture
def resting(shared_place: Place) -> str:
    """A run that does nothing, to be looked at and edited."""
    body = manifests.scripted(shared_place.namespace, "resting", suspend=True)
    return shared_place.apply(body)


@pytest.mark.parametrize("file", EXAMPLE_FILES, ids=lambda file: file.stem)
def test_examples_apply(place: Place, file: object) -> None:
    """Every example is taken by the API server, first as a dry run and then for good."""
    place.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(file))
    place.kubectl("apply", "--validate=strict", "-f", str(file))
    place.kubectl("delete", "-f", str(file), "--wait=false")


def test_explain_has_a_text_for_every_field(house: House) -> None:
    """Kubectl explain describes every field of a run's spec, and says where defaults come from."""
    crd = house.cluster.get("crd", "selfrewardruns.autodidact.dev")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    silent = [path for path, field in _fields(schema, "spec") if not field.get("description")]
    assert not silent
    text = house.cluster.kubectl("explain", "srr.spec.dpo.beta")
    assert "Default: 0.1" in text
    assert "2401.10020" in text
    assert "suspend" in house.cluster.kubectl("explain", "selfrewardrun.spec")


def _fields(schema: Body, path: str) -> list[tuple[str, Body]]:
    found = []
    for name, field in schema.get("properties", {}).items():
        found += [(f"{path}.{name}", field), *_fields(field, f"{path}.{name}")]
    return found


def test_short_names_category_and_columns(shared_place: Place, resting: str) -> None:
    """Runs are found as srr and under the category, and show what matters at a glance."""
    shared_place.until(resting, lambda s: s["phase"] == "Suspended")
    lines = shared_place.kubectl("get", "srr", resting).splitlines()
    assert lines[0].split() == ["NAME", "PHASE", "ITERATION", "STAGE", "PROGRESS", "SCORE", "AGE"]
    assert lines[1].split()[:3] == [resting, "Suspended", "0/1"]
    wide = shared_place.kubectl("get", "srr", resting, "-o", "wide")
    assert {"ETA", "MODEL"} <= set(wide.splitlines()[0].split())
    assert f"selfrewardrun.autodidact.dev/{resting}" in shared_place.kubectl(
        "get", "autodidact", "-o", "name"
    )
    assert "default" in shared_place.kubectl("get", "cprof")


IMMUTABLE: list[tuple[str, Body]] = [
    ("model", {"model": {"uri": "toy://selfreward/other"}}),
    ("iterations", {"iterations": 5}),
    ("seed", {"seed": 1}),
    ("dpo", {"dpo": {"beta": 0.5}}),
    ("data", {"data": {"evaluations": None}}),
    ("gates", {"gates": {"maxTieRate": {"limit": 0.5}}}),
]


@pytest.mark.parametrize(("field", "changes"), IMMUTABLE, ids=[field for field, _ in IMMUTABLE])
def test_what_is_immutable_says_so(
    shared_place: Place, resting: str, field: str, changes: Body
) -> None:
    """An edit is refused with the field and with what to do instead."""
    body = manifests.scripted(shared_place.namespace, resting, suspend=True)
    if changes.get("data"):
        del body["spec"]["data"]["evaluations"]
    else:
        body = manifests.merged(body, {"spec": changes})
    text = shared_place.refusal(body)
    assert f"spec.{field}" in text
    assert "is immutable; create a new run, which adopts" in text


def test_what_may_change_can_be_edited(shared_place: Place, resting: str) -> None:
    """suspend, cancel, compute, deadlineSeconds and ttlSecondsAfterFinished may be edited."""
    shared_place.edit(resting, deadlineSeconds=99999, ttlSecondsAfterFinished=60)
    shared_place.edit(resting, compute={"train": "default"})
    shared_place.edit(resting, deadlineSeconds=None, ttlSecondsAfterFinished=None)


def _set(path: str, value: Any) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        *parents, last = path.split(".")
        for name in parents:
            body = body.setdefault(name, {})
        if value is ...:
            del body[last]
        else:
            body[last] = value

    return change


REFUSED: list[tuple[str, Any, str]] = [
    # An unknown field, a wrong type.
    ("spec.iterationz", 2, r'unknown field "spec\.iterationz"'),
    ("spec.dpo.bete", 0.1, r'unknown field "spec\.dpo\.bete"'),
    ("spec.model.image", "evil", r'unknown field "spec\.model\.image"'),
    ("spec.iterations", "two", r"spec\.iterations"),
    ("spec.warmUp", [], r"spec\.warmUp"),
    ("spec.suspend", "yes", r"spec\.suspend"),
    # Out of range.
    ("spec.iterations", 0, r"spec\.iterations.*greater than or equal to 1"),
    ("spec.iterations", 101, r"spec\.iterations.*less than or equal to 100"),
    ("spec.dpo.beta", 0, r"spec\.dpo\.beta"),
    ("spec.warmUp.learningRate", -1, r"spec\.warmUp\.learningRate"),
    ("spec.responses.topP", 1.5, r"spec\.responses\.topP"),
    ("spec.responses.perPrompt", 1, r"spec\.responses\.perPrompt"),
    ("spec.seed", -1, r"spec\.seed"),
    ("spec.seed", 2**31, r"spec\.seed"),
    ("spec.shards", 0, r"spec\.shards"),
    ("spec.warmUp.schedule", "sudden", r"spec\.warmUp\.schedule.*cosine"),
    # Missing.
    ("spec.model", ..., r"spec\.model: Required"),
    ("spec.data.heldOut", ..., r"data\.instructions and data\.heldOut, are needed"),
    ("spec.model.uri", "", r"spec\.model\.uri"),
    # Text that is not a location or a name.
    ("spec.model.uri", "https://example.com/model", r"spec\.model\.uri"),
    ("spec.model.uri", "s3://bucket/a b", r"spec\.model\.uri"),
    ("spec.model.uri", "s3://bucket/\nkey", r"spec\.model\.uri"),
    ("spec.model.uri", "s3://" + "x" * 2000, r"spec\.model\.uri"),
    ("spec.model.secretName", "other/secret", r"spec\.model\.secretName"),
    ("spec.compute.train", "GPU", r"spec\.compute\.train"),
    # Fields that contradict each other.
    ("spec.judge.minValid", 9, r"judge\.minValid must not be above judge\.votes"),
    ("spec.prompts.minWords", 9, r"minWords must not be above prompts\.maxWords"),
    ("spec.warmUp.finalLearningRate", 0.9, r"finalLearningRate must not be above"),
    ("spec.data.heldOut.uri", "s3://autodidact/public/x.jsonl", r"oracle needs data\.heldOut"),
]


@pytest.mark.parametrize(("path", "value", "words"), REFUSED)
def test_what_cannot_work_is_refused_at_apply(
    shared_place: Place, path: str, value: Any, words: str
) -> None:
    """Kubectl apply fails with the path of the field."""
    body = manifests.scripted(shared_place.namespace, "refused")
    _set(path, value)(body)
    assert re.search(words, shared_place.refusal(body, "--dry-run=server"))


def test_null_turns_a_gate_off(shared_place: Place) -> None:
    """A gate that the API server is sent as null stays so and does not get its default back.

    Client-side `kubectl apply` drops every null before it sends a new object.
    """
    gates = {"minParseRate": None, "minPairs": {"limit": 7}}
    body = manifests.scripted(shared_place.namespace, "open", gates=gates, suspend=True)
    shared_place.kubectl("apply", "--server-side", "-f", "-", input_text=json.dumps(body))
    kept = shared_place.run("open")["spec"]["gates"]
    assert kept["minParseRate"] is None
    assert kept["minPairs"] == {"limit": 7, "action": "Stop"}


def test_the_longest_name(place: Place) -> None:
    """A name of 63 characters works to the end; one more is refused with the reason."""
    name = place.apply(manifests.scripted(place.namespace, "n" * 63))
    assert place.until_ended(name)["phase"] == "Succeeded"
    text = place.refusal(manifests.scripted(place.namespace, "n" * 64))
    assert "metadata.name must be at most 63 characters" in text


@pytest.mark.parametrize("name", ["1st", "a.b.c", "1-2-3", "a" * 22 + "-b"])
def test_odd_names_work(shared_place: Place, name: str) -> None:
    """Whatever the API server takes as a name of a run becomes names of Jobs that it takes."""
    body = manifests.scripted(shared_place.namespace, name, seed=300)
    shared_place.apply(body)
    assert shared_place.until_ended(name)["phase"] == "Succeeded"
