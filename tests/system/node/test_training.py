"""Training on several pods, as plain Indexed Jobs, and ranks that are lost in the middle."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from support import manifests as runs
from tools.cluster.waiting import eventually
from tools.node.figures import phase
from tools.node.runs import Body, Place, Run, manifests

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
class Part:
    """A run of a recipe whose trainings have two pods.

    Attributes:
        engine: DeepSpeed's.
        fields: Fields of its spec beside the recipe's.
        lost: Job that loses its second rank; None: no one does.
    """

    engine: str
    fields: Body = field(default_factory=dict)
    lost: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run that trains twice, and another one that shares its first training.

    Attributes:
        make: Returns the run.
        fields: Fields of its spec.
        trainings: Its training stages; the second one is trained anew by the other run.
        lose: How a rank is lost.
    """

    make: Callable[..., Body]
    fields: Body
    trainings: tuple[str, str]
    first: Part
    second: Part
    lose: Callable[[Place, Body], None]


SELF_REWARDING = Recipe(
    make=runs.tiny,
    fields={},
    trainings=("train-sft", "train-dpo"),
    first=Part(engine="zero2", lost="train-sft"),
    second=Part(engine="zero3", lost="train-dpo-1", fields={"dpo": {"beta": 0.2, "epochs": 40}}),
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
    first=Part(engine="zero3", lost="train-reft"),
    second=Part(engine="zero2", fields={"ppo": {"beta": 0.05}}),
    lose=delete_pod,
)


@pytest.mark.parametrize("recipe", [SELF_REWARDING, REFT], ids=["self-rewarding", "reft"])
def test_two_pods_train_and_a_lost_rank_costs_one_attempt(place: Place, recipe: Recipe) -> None:
    """Both engines train on two nodes; a rank is lost, all end, and the next attempt resumes."""
    train(place, recipe, "first", recipe.first)
    train(place, recipe, "second", recipe.second)
    first, second = ((2, part.engine) for part in (recipe.first, recipe.second))
    once, twice = (trained_by(place, kind) for kind in recipe.trainings)
    assert once == {first}
    assert twice == {first, second}


def train(place: Place, recipe: Recipe, name: str, part: Part) -> None:
    """Runs a part of a recipe to its end, through the loss of a rank if it has one."""
    fields = runs.merged(recipe.fields, part.fields) | two_pods(place, part.engine)
    with phase(f"{name} run on two pods, {part.engine}, ranks lost: {part.lost or 'none'}"):
        run = place.start(recipe.make(place.namespace, name, **fields))
        if part.lost:
            lose_a_rank(run, part.lost, recipe.lose)
        run.until_succeeded()


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


def lose_a_rank(run: Run, job: str, lose: Callable[[Place, Body], None]) -> None:
    """Has a training lose a rank once it has saved; returns when it has resumed."""
    first, second = ({"job": job, "attempt": attempt} for attempt in ("1", "2"))
    saved = eventually(lambda: CHECKPOINT.search(run.log(**first)), 900)
    pods = run.pods(**first)
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(pods) == 2
    lose(run.place, pods[1])
    eventually(lambda: all(map(has_ended, run.pods(**first))), 60)
    resumed = eventually(lambda: RESUMED.search(run.log(**second)), 300)
    assert int(resumed[1]) >= int(saved[1]) > 0


def has_ended(pod: Body) -> bool:
    """Returns whether nothing of a pod runs any more."""
    statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses", [])
    return all("terminated" in status["state"] for status in statuses)
