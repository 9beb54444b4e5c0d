"""Runs that the API server must refuse, and runs that it must take, without any operator.

Most are made from the schemas: for every field of every kind a value of each wrong sort and on each
side of each limit. What no schema knows (contradictions, tricks with names and locations, fields
of a pod) is written by hand.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autodidact_contract.api.crd import definitions
from autodidact_contract.api.kinds import KINDS

Body = dict[str, Any]

MINIMAL: Mapping[str, Body] = {
    "SelfRewardRun": {
        "model": {"uri": "toy://selfreward/model"},
        "data": {
            "instructions": {"uri": "toy://selfreward/instructions"},
            "evaluations": {"uri": "toy://selfreward/evaluations"},
            "heldOut": {"uri": "toy://selfreward/heldout"},
        },
    },
    "ReFTRun": {
        "model": {"uri": "toy://reft/model"},
        "data": {
            "train": {"uri": "toy://reft/train"},
            "validation": {"uri": "toy://reft/validation"},
            "test": {"uri": "toy://reft/test"},
        },
    },
}
PLURALS = {row.kind: row.plural for row in KINDS}
WRONG_TYPES: Mapping[str, Any] = {
    "string": 7,
    "integer": "many",
    "number": "NaN",
    "boolean": "yes",
    "array": {"a": 1},
    "object": ["a"],
}
HUGE = 10**40


@dataclass(frozen=True, kw_only=True)
class Case:
    """A manifest.

    Attributes:
        name: Says what it is about.
        kind: The run's kind.
        body: The whole manifest, as the text that is sent: JSON has no NaN, manifests may.
        words: What the refusal must name; empty for manifests that are fine.
    """

    name: str
    kind: str
    body: str
    words: tuple[str, ...] = ()


def run(kind: str, spec: Body, **metadata: Any) -> Body:
    """Returns a run object."""
    return {
        "apiVersion": "autodidact.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "case", **metadata},
        "spec": spec,
    }


def fields(kind: str) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yields the path and schema of every field of a kind's spec, without those of list items."""
    version = definitions()[PLURALS[kind]]["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    yield from _fields(spec, ())


def _fields(
    schema: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for name, inner in schema.get("properties", {}).items():
        yield (*path, name), inner
        yield from _fields(inner, (*path, name))


def changed(kind: str, path: tuple[str, ...], value: Any) -> Body:
    """Returns the minimal spec with one field set; what the way to it needs is filled in."""
    spec = copy.deepcopy(MINIMAL[kind])
    place = spec
    for name in path[:-1]:
        place = place.setdefault(name, dict(_NEEDED.get(name, {})))
    place[path[-1]] = value
    if "checkpoints" in path:
        spec["data"] |= {"validation": {"uri": "toy://selfreward/validation"}}
    return spec


_GATES = (
    *("minParseRate", "maxTieRate", "minPairs", "minMeanGap", "minJudgeAccuracy"),
    *("minScoreEntropy", "maxLengthRatio", "minGain"),
    *("minWarmUpAccuracy", "maxKl", "maxTruncation"),
)
_NEEDED: Mapping[str, Body] = {
    "model": {"uri": "toy://reft/model"},
    "from": {"run": "other", "iteration": 0},
    **{name: {"limit": 1} for name in _GATES},
}
"""Required neighbours of a field below an optional object."""


def refused_by_schema(kind: str) -> Iterator[Case]:
    """Yields for every field the values that its schema excludes."""
    for path, schema in fields(kind):
        for sort, value in _excluded(schema):
            yield Case(
                name=f"{kind} {'.'.join(path)} {sort}",
                kind=kind,
                body=json.dumps(run(kind, changed(kind, path, value))),
                words=(f"spec.{'.'.join(path)}",),
            )
        if schema["type"] == "object" and "properties" in schema:
            stranger = changed(kind, (*path, "nodeSelector"), {"gpu": "all"})
            yield Case(
                name=f"{kind} {'.'.join(path)} stranger",
                kind=kind,
                body=json.dumps(run(kind, stranger)),
                words=(f'unknown field "spec.{".".join(path)}.nodeSelector"',),
            )


def _excluded(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "type", WRONG_TYPES[schema["type"]]
    if "minimum" in schema:
        at = schema["minimum"]
        yield "low", at if schema.get("exclusiveMinimum") else at - 1
    if "maximum" in schema:
        at = schema["maximum"]
        yield "high", at if schema.get("exclusiveMaximum") else at + 1
        yield "huge", HUGE if schema["type"] == "integer" else 1e300
    if "enum" in schema:
        yield "enum", f"{schema['enum'][0]} "
    elif schema["type"] == "string":
        yield "long", "a" * (schema["maxLength"] + 1)
        if "pattern" in schema:
            yield "unicode", "\N{CYRILLIC SMALL LETTER A}\N{RIGHT-TO-LEFT OVERRIDE}b"
            yield "empty", ""
            yield "newline", "toy://reft/a\nb"
    if schema["type"] == "array":
        # Of items that are fine, one more than there may be.
        item = schema["items"]
        fine = item["enum"][0] if "enum" in item else "a"
        yield "long", [fine] * (schema["maxItems"] + 1)


def taken_by_schema(kind: str) -> Iterator[Case]:
    """Yields for every field the outermost values that its schema includes."""
    for path, schema in fields(kind):
        for sort, value in _included(schema):
            if path not in _CONTRADICTING:
                yield Case(
                    name=f"{kind} {'.'.join(path)} {sort}",
                    kind=kind,
                    body=json.dumps(run(kind, changed(kind, path, value))),
                )


def _included(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    step = 1 if schema["type"] == "integer" else 1e-6
    if "minimum" in schema:
        yield "low", schema["minimum"] + (step if schema.get("exclusiveMinimum") else 0)
    if "maximum" in schema:
        yield "high", schema["maximum"] - (step if schema.get("exclusiveMaximum") else 0)
    for value in schema.get("enum", ()):
        yield f"enum {value}", value
    if schema["type"] == "boolean":
        yield "true", True


_CONTRADICTING = {
    ("judge", "minValid"),
    ("prompts", "minWords"),
    ("prompts", "maxWords"),
    ("evaluation", "judge"),
    ("dpo", "checkpoints", "judge"),
    ("reward",),
    ("answers", "latex"),
    ("voting", "samples"),
    *((part, "learningRate") for part in ("warmUp", "dpo", "ppo", "grpo", "reranker")),
    *((part, "finalLearningRate") for part in ("warmUp", "dpo", "ppo", "grpo", "reranker")),
    *((part, "dropout") for part in ("ppo", "grpo")),
    *((part, "maxLength") for part in ("ppo", "grpo")),
    *((part, "maxQuestionTokens") for part in ("ppo", "grpo")),
    ("ppo", "batchSize"),
    ("ppo", "miniBatchSize"),
    ("warmUp", "epochs"),
    ("warmUp", "stopEpochs"),
}
"""Fields whose limits alone say nothing: another field must agree."""

POD_FIELDS = (
    *("image", "command", "args", "env", "envFrom", "volumes", "volumeMounts", "resources"),
    *("serviceAccountName", "securityContext", "hostNetwork", "hostPID", "hostPath", "privileged"),
    *("nodeName", "nodeSelector", "tolerations", "affinity", "runtimeClassName", "template"),
    *("podTemplate", "containers", "initContainers", "imagePullSecrets", "priorityClassName"),
    *("queueName", "sandbox", "namespace", "shareProcessNamespace", "capabilities"),
)

LOCATIONS: Mapping[str, str] = {
    "toy://reft/../selfreward/model": "uri must not have the parts",
    "s3://autodidact/inputs/lab/../theirs/model": "uri must not have the parts",
    "s3://autodidact/inputs/lab/..": "uri must not have the parts",
    "s3://autodidact/./inputs/lab/model": "uri must not have the parts",
    "s3://autodidact/public/%2e%2e/theirs": "spec.model.uri",
    "s3://autodidact/public/a\\b": "spec.model.uri",
    "s3://autodidact/public/a b": "spec.model.uri",
    "s3://autodidact/public/a?versionId=1": "spec.model.uri",
    "s3://autodidact/public/a#b": "spec.model.uri",
    "s3://autodidact/public/\u0000": "spec.model.uri",
    "s3://autodidact/public/a\u200b": "spec.model.uri",
    "s3://\uff41utodidact/public/a": "spec.model.uri",
    "S3://autodidact/public/a": "spec.model.uri",
    " s3://autodidact/public/a": "spec.model.uri",
    "s3://autodidact/public/a\n": "spec.model.uri",
    "s3:/autodidact/public/a": "spec.model.uri",
    "s3://": "spec.model.uri",
    "s3:///etc/passwd": "spec.model.uri",
    "file:///etc/passwd": "file:// is for local mode",
    "file:///var/run/secrets/kubernetes.io/serviceaccount/token": "file:// is for local mode",
    "http://169.254.169.254/latest/meta-data": "spec.model.uri",
    "https://example.com/model": "spec.model.uri",
    "ftp://example.com/model": "spec.model.uri",
    "gs://bucket/model": "spec.model.uri",
    "data:text/plain,abc": "spec.model.uri",
    "/etc/passwd": "spec.model.uri",
    "../model": "spec.model.uri",
    "$(cat /etc/passwd)": "spec.model.uri",
    "`id`": "spec.model.uri",
    "{{ .Values.store }}": "spec.model.uri",
    # Fine as locations, and not opened for the namespace.
    "s3://autodidact/inputs/theirs/model": "namespace lab may import from",
    "s3://autodidact/inputs/lab-evil/model": "namespace lab may import from",
    "s3://autodidact/inputs/lab": "namespace lab may import from",
    "s3://autodidact/lab/artifacts/train-sft-0/0-of-1": "namespace lab may import from",
    "s3://autodidact/theirs/artifacts/train-sft-0/0-of-1": "namespace lab may import from",
    "s3://another/public/model": "namespace lab may import from",
    "s3://autodidact-evil/public/model": "namespace lab may import from",
    "hf://org/model@main": "namespace lab may import from",
    "hf://evil/model": "namespace lab may import from",
}
OPENED = (
    "toy://reft/model",
    "s3://autodidact/inputs/lab/model",
    "s3://autodidact/inputs/lab/deep/down/model.v2",
    "s3://autodidact/public/model",
)


def written_by_hand() -> Iterator[Case]:
    """Yields what no single field's schema excludes."""
    for kind in MINIMAL:
        for name in POD_FIELDS:
            spec = changed(kind, (name,), "evil")
            words = (f'unknown field "spec.{name}"',)
            yield _hostile(f"{kind} smuggles {name}", kind, run(kind, spec), *words)
        for uri, words in LOCATIONS.items():
            spec = changed(kind, ("model", "uri"), uri)
            yield _hostile(f"{kind} {uri!r}", kind, run(kind, spec), words)
        for name in MINIMAL[kind]["data"]:
            spec = changed(kind, ("data", name, "uri"), "s3://another/secret.jsonl")
            yield _hostile(f"{kind} {name} elsewhere", kind, run(kind, spec), "another/secret")
        yield from _objects(kind)
    yield from _contradictions()


def _hostile(name: str, kind: str, body: Body, *words: str) -> Case:
    return Case(name=name, kind=kind, body=json.dumps(body), words=words)


def _objects(kind: str) -> Iterator[Case]:
    """Yields what is wrong with the object around the spec."""
    spec = MINIMAL[kind]
    yield _hostile(f"{kind} no spec", kind, {**run(kind, {}), "spec": None}, "spec")
    for name in ("model", "data"):
        lacking = {key: value for key, value in spec.items() if key != name}
        yield _hostile(f"{kind} no {name}", kind, run(kind, lacking), f"spec.{name}: Required")
    for name in set(spec["data"]) - {"evaluations"}:
        lacking = copy.deepcopy(spec)
        del lacking["data"][name]
        # A SelfRewardRun can build them from ranked trees instead.
        words = f"data.{name}" if kind == "SelfRewardRun" else f"spec.data.{name}: Required"
        yield _hostile(f"{kind} no {name}", kind, run(kind, lacking), words)
    for name, words in (
        ("n" * 64, "metadata.name must be at most 63"),
        ("UPPER", "metadata.name"),
        ("a/b", "metadata.name"),
        ("..", "name"),
        ("-a", "metadata.name"),
        ("a\u0430", "metadata.name"),
    ):
        yield _hostile(f"{kind} name {name!r}", kind, run(kind, spec, name=name), words)
    foreign = run(kind, spec, namespace="theirs")
    yield _hostile(f"{kind} foreign namespace", kind, foreign, "namespace")
    for version in ("v1", "autodidact.dev/v1", "evil.dev/v1alpha1"):
        other = {**run(kind, spec), "apiVersion": version}
        yield _hostile(f"{kind} version {version}", kind, other, "version")
    secret = changed(kind, ("model",), {"uri": "s3://a/b", "secretName": "theirs/key"})
    yield _hostile(f"{kind} foreign secret", kind, run(kind, secret), "spec.model.secretName")
    for number, words in (
        *((text, "seed") for text in ("NaN", "Infinity", "-Infinity", "1e999", "1.5", "0x10G")),
        *((text, "unsupported value") for text in (".nan", ".inf", "-.inf")),
    ):
        text = json.dumps(run(kind, changed(kind, ("seed",), "@"))).replace('"@"', number)
        yield Case(name=f"{kind} seed {number}", kind=kind, body=text, words=(words,))


_SEEDS: Body = copy.deepcopy(MINIMAL["SelfRewardRun"]["data"])
UNPAIRED: tuple[Body, ...] = (
    {"metaJudge": {}},
    {"dpo": {"consistency": True}},
    {"dpo": {"nllCoefficient": 0.5}},
    {
        "dpo": {"checkpoints": {}},
        "data": {**_SEEDS, "validation": {"uri": "toy://selfreward/validation"}},
    },
    {"pairs": {"rho": [0.1]}},
    {"pairs": {"anchoredLoser": True}},
    {"pairs": {"minScoreGap": 0.5}},
    {"pairs": {"maxChosenLength": 100}},
    {"gates": {"minMeanGap": {"limit": 0.5}}},
)
"""Options that nothing makes use of where learning is positive."""
VERIFIED: Body = {
    "reward": "verifier",
    "data": {**_SEEDS, "questions": {"uri": "toy://reft/train"}},
}

CONTRADICTIONS: tuple[tuple[str, Body, str], ...] = (
    ("SelfRewardRun", {"judge": {"minValid": 4, "votes": 3}}, "judge.minValid must not be above"),
    ("SelfRewardRun", {"prompts": {"minWords": 200}}, "minWords must not be above"),
    ("SelfRewardRun", {"warmUp": {"finalLearningRate": 1}}, "finalLearningRate must not be above"),
    ("SelfRewardRun", {"dpo": {"finalLearningRate": 1}}, "finalLearningRate must not be above"),
    (
        "SelfRewardRun",
        {
            "evaluation": {"judge": "oracle"},
            "data": {
                "instructions": {"uri": "toy://selfreward/instructions"},
                "heldOut": {"uri": "s3://autodidact/public/h.jsonl"},
            },
        },
        "evaluation.judge oracle needs data.heldOut from a toy:// task",
    ),
    ("SelfRewardRun", {"evaluation": {"judge": "fixed"}}, "judge fixed and judgeModel need each"),
    (
        "SelfRewardRun",
        {"evaluation": {"judgeModel": {"uri": "toy://selfreward/model"}}},
        "judge fixed and judgeModel need each other",
    ),
    (
        "SelfRewardRun",
        {"evaluation": {"judge": "endpoint"}},
        "judge endpoint and endpoint need each",
    ),
    ("SelfRewardRun", {"evaluation": {"against": ["first", "first"]}}, "must not name one twice"),
    (
        "SelfRewardRun",
        {"evaluation": {"against": ["first"]}, "gates": {"minGain": {"limit": 0.1}}},
        "gates.minGain needs previous",
    ),
    (
        "SelfRewardRun",
        {"evaluation": {"against": []}, "gates": {"maxLengthRatio": {"limit": 2}}},
        "gates.maxLengthRatio needs first",
    ),
    ("SelfRewardRun", {"reward": "verifier"}, "reward verifier and data.questions need each other"),
    ("SelfRewardRun", {"reward": "implicit", "metaJudge": {}}, "metaJudge needs reward judge"),
    (
        "SelfRewardRun",
        {"reward": "implicit", "learning": "positive"},
        "learning positive needs reward judge",
    ),
    *(
        ("SelfRewardRun", {"learning": "positive", **changes}, "learning positive makes no pairs")
        for changes in UNPAIRED
    ),
    (
        "SelfRewardRun",
        {"learning": "positive", "from": {"run": "other", "iteration": 1}},
        "from and learning positive exclude each other",
    ),
    (
        "SelfRewardRun",
        {"reward": "implicit", "gates": {"minScoreEntropy": {"limit": 0.1}}},
        "gates.minScoreEntropy needs reward judge",
    ),
    *(
        ("SelfRewardRun", {**VERIFIED, "gates": {gate: {"limit": 0.5}}}, f"gates.{gate} needs")
        for gate in ("minScoreEntropy", "maxTieRate")
    ),
    (
        "SelfRewardRun",
        {"metaJudge": {}, "judge": {"votes": 1}},
        "metaJudge needs judge.votes of at least 2",
    ),
    (
        "SelfRewardRun",
        {"dpo": {"checkpoints": {}}},
        "dpo.checkpoints needs data.validation or data.ranked",
    ),
    ("SelfRewardRun", {"pairs": {"rho": [0.6]}}, "spec.pairs.rho"),
    (
        "SelfRewardRun",
        {"data": {"instructions": _SEEDS["instructions"]}},
        "data.ranked, or data.instructions and data.heldOut, are needed",
    ),
    (
        "SelfRewardRun",
        {"data": {**_SEEDS, "ranked": {"uri": "toy://selfreward/trees"}}},
        "data.ranked builds the evaluations",
    ),
    *(
        ("SelfRewardRun", {**VERIFIED, **changes}, "dpo.consistency and pairs.anchoredLoser need")
        for changes in ({"dpo": {"consistency": True}}, {"pairs": {"anchoredLoser": True}})
    ),
    (
        "SelfRewardRun",
        {
            "dpo": {"checkpoints": {"judge": "oracle"}},
            "data": {**_SEEDS, "validation": {"uri": "s3://autodidact/public/v.jsonl"}},
        },
        "dpo.checkpoints.judge oracle needs data.validation from a toy:// task",
    ),
    (
        "SelfRewardRun",
        {"evaluation": {"judge": "endpoint", "endpoint": {"url": "https://:8", "model": "m"}}},
        "url must be an http or https address",
    ),
    ("ReFTRun", {"warmUp": {"stopEpochs": 41}}, "stopEpochs must not be above warmUp.epochs"),
    ("ReFTRun", {"warmUp": {"epochs": 1}}, "stopEpochs must not be above warmUp.epochs"),
    ("ReFTRun", {"answers": {"latex": True, "kind": "number"}}, "latex needs answers.kind text"),
    ("ReFTRun", {"baselines": ["sft", "sft"]}, "baselines must not name one twice"),
    ("ReFTRun", {"voting": {"samples": 1}}, "reranker.enabled needs voting.samples"),
    ("ReFTRun", {"ppo": {"miniBatchSize": 5}}, "multiple of ppo.miniBatchSize"),
    ("ReFTRun", {"ppo": {"dropout": 0.1}}, "ppo.dropout must be 0"),
    ("ReFTRun", {"grpo": {"dropout": 0.1}}, "grpo.dropout must be 0"),
    ("ReFTRun", {"ppo": {"maxQuestionTokens": 700}}, "maxQuestionTokens must be below"),
    ("ReFTRun", {"grpo": {"maxLength": 300}}, "maxQuestionTokens must be below"),
    *(
        ("ReFTRun", {part: {"finalLearningRate": 1}}, "finalLearningRate must not be above")
        for part in ("warmUp", "ppo", "grpo", "reranker")
    ),
)


_ENGINE_URL = "http://vllm.models:8000/v1"
PROFILES: tuple[tuple[Body, str], ...] = (
    ({}, ""),
    ({"engine": "vllm"}, ""),
    ({"engine": "openai", "engineUrl": _ENGINE_URL}, ""),
    ({"engine": "openai", "engineUrl": _ENGINE_URL, "engineSecretName": "models"}, ""),
    ({"engine": "openai"}, "engine openai needs engineUrl"),
    ({"engine": "vllm", "engineUrl": _ENGINE_URL}, "no other engine has one"),
    ({"engineSecretName": "models"}, "engineSecretName is for engine openai"),
    ({"engine": "tgi"}, "Unsupported value"),
    ({"engine": "openai", "engineUrl": "http://user:pass@models/v1"}, "spec.engineUrl"),
    ({"engine": "openai", "engineUrl": f"{_ENGINE_URL}?key=canary"}, "spec.engineUrl"),
    ({"engine": "openai", "engineUrl": "models:8000"}, "spec.engineUrl"),
)
"""Specs of ComputeProfiles, and what the refusal must name; empty for those that are fine."""


def _contradictions() -> Iterator[Case]:
    for number, (kind, changes, words) in enumerate(CONTRADICTIONS):
        spec = {**MINIMAL[kind], **changes}
        yield _hostile(f"contradiction {number} {words}", kind, run(kind, spec), words)


def hostile() -> list[Case]:
    """Returns everything that must be refused."""
    made = [case for kind in MINIMAL for case in refused_by_schema(kind)]
    return [*made, *written_by_hand()]


def good() -> list[Case]:
    """Returns everything that must be taken."""
    made = [case for kind in MINIMAL for case in taken_by_schema(kind)]
    opened = [
        Case(name=f"{kind} {uri}", kind=kind, body=json.dumps(run(kind, changed(kind, path, uri))))
        for kind in MINIMAL
        for path in (("model", "uri"), ("data", next(iter(MINIMAL[kind]["data"])), "uri"))
        for uri in OPENED
    ]
    secret = {"uri": "s3://another/model", "secretName": "keys"}
    with_secret = [
        Case(
            name=f"{kind} secret", kind=kind, body=json.dumps(run(kind, {**spec, "model": secret}))
        )
        for kind, spec in MINIMAL.items()
    ]
    return [*made, *opened, *with_secret]
