from typing import Any

import pytest

from autodidact_contract.api.run import RunSpec
from autodidact_operator.plan.types import Graph
from support import golden
from support.builders import graph, reft, spec
from support.specs import ALL, EVERYTHING, OPTIONS, TOY
from support.world import World


def outline(of: Graph) -> list[dict[str, Any]]:
    """Returns a graph as plain values; what is at its default is left out."""
    return [
        {
            "stage": stage.name,
            "job": stage.job,
            "compute": stage.compute,
            **({"iteration": stage.iteration} if stage.iteration else {}),
            **({"inputs": dict(stage.inputs)} if stage.inputs else {}),
            **({"after": list(stage.after)} if stage.after else {}),
            **({"checks": [check.reason for check in stage.checks]} if stage.checks else {}),
            "config": stage.config.dump(),
        }
        for stage in of.stages
    ]


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("minimal", spec()),
        ("toy", TOY),
        ("everything", OPTIONS["everything"]),
        ("reft-minimal", reft()),
        ("reft-everything", EVERYTHING),
        ("reft-grpo", reft(algorithm="grpo", reranker={"enabled": False})),
    ],
)
def test_graph_is_as_written_down(name: str, of: RunSpec) -> None:
    """Names, jobs, order and configs of a run's stages do not change by accident."""
    golden.check(f"graph-{name}", outline(graph(of)))


@pytest.mark.parametrize("of", ALL.values(), ids=ALL)
def test_inputs_are_made_earlier(of: RunSpec) -> None:
    """The stages are in an order in which they can run, and no name is used twice."""
    made: set[str] = set()
    for stage in graph(of).stages:
        assert made.issuperset((*stage.inputs.values(), *stage.after))
        assert stage.name not in made
        made.add(stage.name)


@pytest.mark.parametrize("of", ALL.values(), ids=ALL)
def test_every_run_comes_to_its_end(of: RunSpec) -> None:
    """Whatever is switched on, healthy stages lead to the last model, a full history, a report."""
    world = World(spec=of)
    world.play()
    status, found = world.status, world.graph
    assert (status.phase, status.conditions[0].reason) == ("Succeeded", "Completed")
    assert status.model == world.known[found.models[max(found.models)]].folder
    assert [line.name for line in status.history] == [line.name for line in found.lines]
    assert status.report


@pytest.mark.parametrize(
    ("name", "pairs", "score"),
    [("toy", 40, 3.25), ("implicit", 40, -0.25), ("verifier", 40, 0.5), ("positive", 20, 3.25)],
)
def test_history_has_what_a_round_was_made_of(name: str, pairs: int, score: float | None) -> None:
    """Pairs or positives, the mean reward whoever gave it, and how long the replies became."""
    world = World(spec=ALL[name])
    world.play()
    line = world.status.history[1]
    assert (line.pairs, line.length_ratio) == (pairs, 1.1)
    assert line.mean_score == score


@pytest.mark.parametrize("of", ALL.values(), ids=ALL)
def test_stages_of_one_job_agree(of: RunSpec) -> None:
    """Stages that share a process share its compute, its shards, its Secret and its iteration."""
    jobs: dict[str, set[Any]] = {}
    for stage in graph(of).stages:
        what = (stage.compute, stage.shards, stage.secret, stage.training, stage.iteration)
        jobs.setdefault(stage.job, set()).add(what)
    assert all(len(kinds) == 1 for kinds in jobs.values())


def test_configs_do_not_know_of_shards() -> None:
    """The number of shards changes no config, or it would change every key."""
    one, many = graph(), graph(spec(shards=8))
    assert [s.config for s in one.stages] == [s.config for s in many.stages]
    assert [s.inputs for s in one.stages] == [s.inputs for s in many.stages]


def test_longer_run_begins_like_a_shorter_one() -> None:
    """A run with more iterations adopts all that one with fewer has made."""
    short, long = graph(spec(iterations=1)), graph(spec(iterations=3))
    for stage in short.stages:
        if stage.name != "report":
            assert long[stage.name] == stage
