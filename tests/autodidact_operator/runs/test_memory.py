from typing import Any

from autodidact_contract.api.status import RunStatus, StageStatus
from autodidact_operator.runs.memory import Memory, only_detail
from support.interpreted import RECIPE


def test_a_pod_that_runs_now_is_a_detail() -> None:
    """What a stage is doing can wait; that it is done, or that the run waits, cannot."""
    before = RunStatus(phase="Running", stages=(StageStatus(name="judge-1", phase="Pending"),))
    running = (StageStatus(name="judge-1", phase="Running"),)
    assert only_detail(before, before.model_copy(update={"stages": running, "progress": "5%"}))
    assert not only_detail(before, before.model_copy(update={"model": "research/artifacts/x"}))
    assert not only_detail(before, before.model_copy(update={"phase": "Suspended"}))


def test_details_wait_for_the_last_write(memory: Memory) -> None:
    """Details are written at once where nothing was, else some seconds after the last write."""
    assert memory.seconds_to_write("uid-a", 100.0) <= 0
    memory.wrote("uid-a", 100.0)
    assert memory.seconds_to_write("uid-a", 100.5) == 1.5
    memory.keep([])
    assert memory.seconds_to_write("uid-a", 100.5) <= 0


def test_an_edited_run_is_interpreted_anew(memory: Memory, toy_body: dict[str, Any]) -> None:
    """One interpretation holds for one generation of the spec."""
    first = memory.interpreted(RECIPE, toy_body)
    graph = memory.graph(RECIPE, first, "")
    assert memory.interpreted(RECIPE, toy_body) is first
    assert memory.graph(RECIPE, first, "") is graph
    toy_body["spec"]["suspend"] = True
    toy_body["metadata"]["generation"] = 2
    second = memory.interpreted(RECIPE, toy_body)
    assert (first.spec.suspend, second.spec.suspend) == (False, True)
    assert memory.graph(RECIPE, second, "") is not graph
