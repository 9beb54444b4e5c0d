"""What the planner's functions hand to each other."""

from support.builders import graph, spec


def test_a_stage_is_found_by_its_name() -> None:
    """The index is in the order of the graph and is built once."""
    found = graph(spec())
    assert list(found.by_name) == [stage.name for stage in found.stages]
    assert found.by_name is found.by_name
    assert found["report"] is found.by_name["report"]
