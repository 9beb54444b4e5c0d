"""Training on several pods, as plain Indexed Jobs, and ranks that are lost in the middle."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cluster.waiting import eventually
from e2e import manifests as runs
from real_node.figures import phase
from real_node.runs import Body, Place, Run, manifests

CHECKPOINT = re.compile(r"checkpoint step=(\d+)")
RESUMED = re.compile(r"resume (?:step|rollout)=(\d+)")
# One of two fits a node.
POD = {"requests": {"cpu": "1100m", "memory": "1Gi"}}


def kill_process(place: Place, pod: Body) -> None:
    """Kills the training process of a pod, which torchrun outlives."""
    hostname = pod["spec"]["hostname"]
    process = place.node_of(pod).process(RANK="1", HOSTNAME=hostname)
    assert process is not None
    process.kill()


def delete_pod(place: Place, pod: Body) -> None:
    """Deletes a pod as a person would; its processes are told to stop."""
    place.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run that trains twice, and another one that shares its first training.

    Attributes:
        make: Returns the run.
        fields: Fields of its spec.
        trainings: Its training stages; the second one is trained anew by the other run.
        change: What the other run has different.
        engines: Of the run and of the other one.
        lost: Job that loses its second rank.
        lose: How.
    """

    make: Callable[..., Body]
    fields: Body
    trainings: tuple[str, str]
    change: Body
    engines: tuple[str, str]
    lost: str
    lose: Callable[[Place, Body], None]


SELF_REWARDING = Recipe(
    make=runs.tiny,
    fields={},
    trainings=("train-sft", "train-dpo"),
    change={"dpo": {"beta": 0.2}},
    engines=("zero2", "zero3"),
    lost="train-sft",
    lose=kill_process,
)
REFT = Recipe(
    make=runs.tiny_reft,
    fields={
        "baselines": [],
        "reranker": {"enabled": False},
        "warmUp": {"epochs": 1, "stopEpochs": 1},
        "ppo": {"epochs": 1},
    },
    trainings=("train-sft", "train-ppo"),
    change={"ppo": {"beta": 0.05}},
    engines=("zero3", "zero2"),
    lost="train-reft",
    lose=delete_pod,
)


@pytest.mark.parametrize("recipe", [SELF_REWARDING, REFT], ids=["self-rewarding", "reft"])
def test_two_pods_train_and_a_lost_rank_costs_one_attempt(place: Place, recipe: Recipe) -> None:
    """Both engines train on two nodes; a rank is lost, all end, and the next attempt resumes."""
    profiles = [two_pods(place, engine) for engine in recipe.engines]
    with phase(f"{recipe.trainings} on two pods, a rank lost"):
        run = place.start(recipe.make(place.namespace, "first", **recipe.fields, **profiles[0]))
        lose_a_rank(run, recipe)
        run.until_succeeded()
    with phase(f"{recipe.trainings[1]} on two pods"):
        fields = runs.merged(recipe.fields, recipe.change)
        place.start(
            recipe.make(place.namespace, "second", **fields, **profiles[1])
        ).until_succeeded()
    first, second = ((2, engine) for engine in recipe.engines)
    once, twice = (trained_by(place, kind) for kind in recipe.trainings)
    assert once == {first}
    assert twice == {first, second}


def trained_by(place: Place, kind: str) -> set[tuple[int, str]]:
    """Returns processes and engine of the stages of a kind, as their manifests have it."""
    found = manifests(place.installed, place.namespace, kind)
    return {(one.world_size, one.deepspeed) for one in found}


def two_pods(place: Place, engine: str) -> Body:
    """Returns fields of a run that has its trainings on two nodes, saved every few seconds."""
    environment = {"AUTODIDACT_CHECKPOINT_SECONDS": "4"}
    options = {"nodes": 2, "deepspeed": engine, "env": environment, "resources": POD}
    train = place.profile(engine, **options)
    small = place.profile("small")
    return {"compute": {"train": train, "generate": small, "default": small}}


def lose_a_rank(run: Run, recipe: Recipe) -> None:
    """Has a training lose a rank once it has saved; returns when it has resumed."""
    first, second = ({"job": recipe.lost, "attempt": attempt} for attempt in ("1", "2"))
    saved = eventually(lambda: CHECKPOINT.search(run.log(**first)), 900)
    pods = run.pods(**first)
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(pods) == 2
    recipe.lose(run.place, pods[1])
    eventually(lambda: all(map(has_ended, run.pods(**first))), 60)
    resumed = eventually(lambda: RESUMED.search(run.log(**second)), 300)
    assert int(resumed[1]) >= int(saved[1]) > 0


def has_ended(pod: Body) -> bool:
    """Returns whether nothing of a pod runs any more."""
    statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses", [])
    return all("terminated" in status["state"] for status in statuses)
