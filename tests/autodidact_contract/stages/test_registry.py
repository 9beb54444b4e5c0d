"""What the config classes say of their stages holds for every graph and every figure in it."""

from collections.abc import Iterator

import pytest

from autodidact_contract.api.run import RunSpec
from autodidact_contract.stages.registry import STAGES
from autodidact_operator.plan.types import Graph
from support.builders import graph
from support.specs import ALL
from support.stage_figures import COUNTS, METRICS, misfits, undeclared

GRAPHS = pytest.mark.parametrize("of", ALL.values(), ids=ALL)


@GRAPHS
def test_stages_get_the_inputs_that_their_kind_takes(of: RunSpec) -> None:
    """No stage lacks an input or has one that its config class does not name."""
    found = {
        stage.name: wrong
        for stage in graph(of).stages
        if (wrong := misfits(type(stage.config), stage.inputs))
    }
    assert found == {}


def test_every_input_is_used_by_a_graph() -> None:
    """What a config class takes is given to it by some run."""
    given: dict[str, set[str]] = {}
    for of in ALL.values():
        for stage in graph(of).stages:
            given.setdefault(stage.config.stage, set()).update(stage.inputs)
    unused = [
        f"{kind} {one.name}"
        for kind, config in STAGES.items()
        for one in config.TAKES
        if not any(name.startswith(one.name) for name in given.get(kind, ()))
    ]
    assert unused == []


def figures(of: Graph) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields the kind of a stage with the counts and the metrics that gates read."""
    for stage in of.stages:
        for check in stage.checks:
            counts = [name for name in (check.numerator, check.denominator) if name]
            yield stage.config.stage, counts, [check.metric] if check.metric else []


@GRAPHS
def test_gates_read_what_the_kind_publishes(of: RunSpec) -> None:
    """A gate on a figure that its stage never publishes would be on nothing."""
    assert [wrong for one in figures(graph(of)) for wrong in undeclared(*one)] == []


@GRAPHS
def test_history_reads_what_the_kind_publishes(of: RunSpec) -> None:
    """Each column of the history is a count or a metric of its stage's kind."""
    found = graph(of)
    stages = {stage.name: stage.config.stage for stage in found.stages}
    wrong = []
    for line in found.lines:
        for stage, name in line.figures.values():
            if stage not in stages:
                continue  # an option is off
            names = [name] if isinstance(name, str) else list(name)
            wrong += [
                one
                for one in names
                if undeclared(stages[stage], [one], []) and undeclared(stages[stage], [], [one])
            ]
    assert wrong == []


@GRAPHS
def test_shards_are_for_kinds_that_can_be_split(of: RunSpec) -> None:
    """A stage in several pods is of a kind that says so."""
    split = {stage.config.stage for stage in graph(of).stages if stage.shards > 1}
    assert [kind for kind in split if not STAGES[kind].SHARDED] == []


def test_healthy_figures_are_figures_of_their_kind() -> None:
    """The tests' scripted stages publish nothing that a real one could not."""
    kinds = sorted({*COUNTS, *METRICS})
    assert [
        wrong
        for kind in kinds
        for wrong in undeclared(kind, COUNTS.get(kind, ()), METRICS.get(kind, ()))
    ] == []


def test_what_is_trained_or_sampled_needs_a_model() -> None:
    """A kind that samples, or that a GPU is for, has a model among its inputs."""
    for kind, config in STAGES.items():
        takes = {one.name for one in config.TAKES}
        if config.SAMPLES or config.COMPUTE == "train":
            assert "model" in takes, kind
        if config.SAMPLES:
            assert config.COMPUTE == "generate", kind
