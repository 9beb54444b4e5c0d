"""Runs for the end-to-end tests: the toy example, cut down until it takes seconds."""

import copy
from typing import Any

import yaml

from tools.paths import EXAMPLES

Body = dict[str, Any]


def toy() -> Body:
    """Returns the example as it is shipped."""
    body: Body = yaml.safe_load((EXAMPLES / "selfreward-toy.yaml").read_text())
    return body


def tiny(namespace: str, name: str = "tiny", **spec: Any) -> Body:
    """Returns a run of one iteration for real workers; keyword arguments are merged into its spec.

    It learns just enough for its judge to be read and to give some pairs.
    """
    body = toy()
    body["metadata"] = {"name": name, "namespace": namespace}
    small = {
        "iterations": 1,
        "startDeadlineSeconds": 120,
        "warmUp": {"epochs": 2, "learningRate": 0.006, "warmupSteps": 20, "batchSize": 32},
        "prompts": {"perIteration": 16, "attemptsPerPrompt": 20, "maxRouge": 1},
        "responses": {"perPrompt": 3},
        "judge": {"votes": 1},
        "pairs": {"excludeTruncated": False},
        "dpo": {"epochs": 1, "batchSize": 16},
        "evaluation": {"prompts": 16},
        "gates": {"minPairs": {"limit": 1, "action": "Stop"}, "minParseRate": {"limit": 0}},
    }
    return merged(merged(body, {"spec": small}), {"spec": spec})


def scripted(namespace: str, name: str = "run", profile: str = "scripted", **spec: Any) -> Body:
    """Returns a run whose pods are played; its gates are the defaults."""
    body = toy()
    body["metadata"] = {"name": name, "namespace": namespace}
    del body["spec"]["gates"]
    small = {
        "iterations": 1,
        "startDeadlineSeconds": 120,
        "compute": {"generate": profile, "train": profile, "default": profile},
    }
    return merged(merged(body, {"spec": small}), {"spec": spec})


def reft_toy() -> Body:
    """Returns the example as it is shipped."""
    body: Body = yaml.safe_load((EXAMPLES / "reft-toy.yaml").read_text())
    return body


def tiny_reft(namespace: str, name: str = "tiny", **spec: Any) -> Body:
    """Returns a ReFTRun for real workers that goes through every kind of stage in a minute."""
    body = reft_toy()
    body["metadata"] = {"name": name, "namespace": namespace}
    small = {
        "startDeadlineSeconds": 120,
        "baselines": ["offline-self-training", "online-self-training"],
        "warmUp": {"epochs": 2, "stopEpochs": 2, "untilAccuracy": None},
        "ppo": {"epochs": 0.25},
        "sampling": {"trainSamples": 2},
        "selfTraining": {"epochs": 1},
        "voting": {"samples": 2},
        "reranker": {"enabled": True, "epochs": 1},
        "evaluation": {"questions": 64},
        "gates": {"minWarmUpAccuracy": {"limit": 0}},
    }
    return merged(merged(body, {"spec": small}), {"spec": spec})


def scripted_reft(
    namespace: str, name: str = "run", profile: str = "scripted", **spec: Any
) -> Body:
    """Returns a ReFTRun whose pods are played; its gates are the defaults."""
    body = reft_toy()
    body["metadata"] = {"name": name, "namespace": namespace}
    body["spec"].pop("gates", None)
    small = {
        "startDeadlineSeconds": 120,
        "compute": {"generate": profile, "train": profile, "default": profile},
    }
    return merged(merged(body, {"spec": small}), {"spec": spec})


def merged(body: Body, changes: Body) -> Body:
    """Returns a body with changes; objects are merged, everything else is replaced."""
    result = copy.deepcopy(body)
    for name, value in changes.items():
        old = result.get(name)
        both = isinstance(old, dict) and isinstance(value, dict) and "uri" not in value
        result[name] = merged(old, value) if both and isinstance(old, dict) else value
    return result
