import pytest

from autodidact_contract.api.run import Origin
from autodidact_contract.api.status import Iteration, RunStatus
from autodidact_operator.plan.forking import find, waits_for
from autodidact_operator.plan.graphs import selfreward
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.progression import stage_key_of
from autodidact_operator.plan.types import Graph
from support import builders
from support.builders import UID, published, spec

HISTORY = (
    Iteration(iteration=0, name="M1", model="train-sft-a"),
    Iteration(iteration=1, name="M2", model="train-dpo-b"),
    Iteration(iteration=2, name="M3", model=""),
)


def asked(iteration: int, parent: RunStatus | None) -> str | Problem:
    """Returns what is found for a run ``child`` that starts from a run ``llama``."""
    return find(Origin(run="llama", iteration=iteration), "child", parent)


def handling(problem: Problem) -> tuple[bool, bool]:
    """Returns whether startDeadlineSeconds counts, and whether the run fails at once."""
    return problem.row.deadline_counts, problem.row.ends_jobs


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed", "Suspended"])
def test_a_model_that_is_there_is_taken(phase: str) -> None:
    """What a run made is good whether the run is at work, done, or failed later."""
    parent = RunStatus.model_validate({"phase": phase, "history": HISTORY})
    assert [asked(t, parent) for t in (0, 1)] == ["train-sft-a", "train-dpo-b"]


def test_a_model_that_is_being_made_is_waited_for() -> None:
    """A run at work may still make it, however long that takes."""
    found = asked(2, RunStatus(phase="Running", history=HISTORY))
    assert isinstance(found, Problem)
    assert (found.reason, handling(found)) == ("OriginNotReady", (False, False))
    assert "iteration 2 yet; it has those of: 0, 1" in found.message


def test_an_iteration_that_failed_is_refused() -> None:
    """A run that ended makes no more models, and the sentence says which it has."""
    found = asked(2, RunStatus(phase="Failed", history=HISTORY))
    assert isinstance(found, Problem)
    assert (found.reason, handling(found)) == ("OriginHasNoModel", (False, True))
    assert "is Failed without a model of iteration 2; it has those of: 0, 1" in found.message


def test_a_run_that_is_gone_or_elsewhere_is_waited_for_a_while() -> None:
    """The other run may be applied later; after startDeadlineSeconds it is an error."""
    found = asked(0, None)
    assert isinstance(found, Problem)
    assert (found.reason, handling(found)) == ("OriginNotFound", (True, False))


def test_a_run_cannot_start_from_itself() -> None:
    """A run that names itself would wait forever."""
    found = find(Origin(run="child", iteration=0), "child", RunStatus(history=HISTORY))
    assert isinstance(found, Problem)
    assert (found.reason, handling(found)) == ("OriginIsItself", (False, True))


def test_runs_that_wait_for_each_other_are_refused() -> None:
    """Neither will ever have a model; one that has its own origin waits for nobody any more."""
    waiting = RunStatus(phase="Pending")
    found = find(Origin(run="llama", iteration=0), "child", waiting, {"child"})
    assert isinstance(found, Problem)
    assert (found.reason, handling(found)) == ("OriginIsItself", (False, True))
    assert "llama, which waits for a model of child" in found.message
    whom = {"llama": "other", "other": "child", "child": "llama"}
    assert waits_for("llama", whom.__getitem__) == {"other", "child", "llama"}
    assert waits_for("late", {"late": "other", "other": ""}.__getitem__) == {"other"}
    made = RunStatus(phase="Running", history=HISTORY)
    assert find(Origin(run="llama", iteration=0), "child", made, {"child"}) == "train-sft-a"


FORK = {"from": {"run": "llama", "iteration": 0}}


def keys(of: Graph, first: str) -> dict[str, str]:
    """Returns the key of every stage that follows from M1, whose bytes are always the same.

    Args:
        of: The graph.
        first: Stage that makes or brings M1.
    """
    model = builders.healthy("train-sft", "a")
    found = published(of, until=first)
    found[first] = model
    result = {}
    for stage in of.stages[list(of.by_name).index(first) + 1 :]:
        result[stage.name] = stage_key_of(stage, found)
        found[stage.name] = builders.artifact(stage, found)
    return {name: key for name, key in result.items() if name not in ("compare-prompts", "report")}


def test_a_fork_adopts_what_its_parent_did_from_the_same_model() -> None:
    """With the same settings all is there; with another DPO all up to the pairs, and no more."""
    parent = keys(selfreward.graph(spec(), UID), "train-sft")
    same = keys(selfreward.graph(spec(**FORK), UID, "train-sft-a"), "import-origin")
    other = keys(
        selfreward.graph(spec(**FORK, dpo={"beta": 0.3}), UID, "train-sft-a"), "import-origin"
    )
    assert same == parent
    assert {name for name in other if other[name] == parent[name]} == {
        "evaluate-0",
        "generate-prompts-1",
        "generate-responses-1",
        "judge-1",
        "build-pairs-1",
        "generate-prompts-2",  # M1 writes them
    }


def test_a_fork_has_no_warm_up() -> None:
    """Nothing before the model is computed again, not even from ranked trees."""
    data = {"ranked": {"uri": "s3://inputs/trees"}, "evaluations": None}
    graph = selfreward.graph(spec(**FORK, data=data), UID, "train-sft-a")
    names = set(graph.by_name)
    assert not names & {"train-sft", "train-baseline", "judge-ranked", "build-eft", "build-ranked"}
    assert graph["import-origin"].config.dump()["uri"] == "artifact://train-sft-a"
    assert graph["import-origin"].salt == ""


def test_a_fork_holds_out_the_prompts_of_its_parent() -> None:
    """With another seed and a choice of checkpoints, ranked trees are taken apart as before."""
    data = {"ranked": {"uri": "s3://inputs/trees"}, "instructions": None, "heldOut": None}
    parent = selfreward.graph(spec(data=data), UID)
    changes = {"seed": 5, "dpo": {"checkpoints": {}}}
    fork = selfreward.graph(spec(**FORK, **changes, data=data), UID, "train-sft-a")
    assert "build-validation" in fork.by_name
    for name in ("build-instructions", "build-heldout"):
        assert fork[name].config == parent[name].config


def test_a_fork_brings_in_no_judgements() -> None:
    """The model it starts from has learned from them; another fork of it needs none either."""
    data = {"evaluations": {"uri": "s3://inputs/eft.jsonl"}}
    assert "import-evaluations" in selfreward.graph(spec(data=data), UID).by_name
    fork = selfreward.graph(spec(**FORK, data=data), UID, "train-sft-a")
    assert "import-evaluations" not in fork.by_name
