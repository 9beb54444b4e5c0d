import pytest

from autodidact_operator.plan.graphs import selfreward
from support import builders
from support.builders import UID, graph, spec

SALTED = {
    "s3://inputs/base": True,
    "file:///data/base": True,
    "hf://org/name": True,
    "hf://org/name@main": True,
    "hf://org/name@0123456789abcdef0123456789abcdef01234567": False,
    "toy://selfreward/model": False,
}


@pytest.mark.parametrize(("uri", "salted"), SALTED.items())
def test_what_may_change_is_looked_at_again(uri: str, salted: bool) -> None:
    """An import is shared between runs only where its location can never hold anything else."""
    of = spec(model={"uri": uri})
    keys = {selfreward.graph(of, salt)["import-model"].salt for salt in ("a", "b")}
    assert len(keys) == (2 if salted else 1)


def test_report_takes_what_there_is() -> None:
    """The report reads every stage but what was given, and waits for none that was skipped."""
    found = graph()
    report = found["report"]
    assert report.partial
    assert len(report.inputs) == len(found.stages) - 4
    assert builders.published(found)["report"].digest


def test_report_of_a_fork_knows_its_origin() -> None:
    """The model of another run is the one import that is not given from outside."""
    of = spec(**{"from": {"run": "llama", "iteration": 1}})
    inputs = selfreward.graph(of, UID, "train-dpo-b")["report"].inputs
    assert [name for name in inputs if name.startswith("import-")] == ["import-origin"]
