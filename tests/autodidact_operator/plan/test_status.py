import pytest

from autodidact_contract.api.status import RunStatus
from autodidact_contract.base import canonical_json
from autodidact_operator.plan.decide import decide
from autodidact_operator.plan.types import Graph, Observed, StageProgress
from support import builders
from support.builders import NOW, at_attempt, begun, job, later, pod, spec, words
from support.decisions import MISSING, see

KSTATUS = {
    "Running": ("False", "True", "False"),
    "Suspended": ("False", "False", "False"),
    "Succeeded": ("True", "False", "False"),
    "Failed": ("False", "False", "True"),
}
"""Ready, Reconciling and Stalled by phase."""


def test_a_running_pod_that_waits_is_told() -> None:
    """What a pod on a lost node waits for is on the run, and no deadline ends the attempt."""
    lost = pod(waiting="DeletionByTaintManager", waiting_message="node gpu-7 is not ready")
    decision = see(job("import", lost), before=begun(at_attempt("import", 1)), seconds=1e6)
    condition = builders.ready(decision.status)
    assert (condition.reason, condition.message) == (
        "DeletionByTaintManager",
        "import waits: node gpu-7 is not ready",
    )
    assert (decision.create, decision.delete) == ((), ())


def test_warning_is_said_and_stops_nothing() -> None:
    """A warning is the condition Degraded with its figure, told once; the run goes on."""
    of = builders.reft()
    graph = builders.graph(of)
    found = builders.published(graph, "prepare-test", prepare_test={"overlap": 3})
    seen = Observed(artifacts=found)
    decision = decide(graph, builders.run(of), seen, RunStatus(), NOW)
    [degraded] = [c for c in decision.status.conditions if c.type == "Degraded"]
    assert (degraded.status, degraded.reason) == ("True", "SplitsOverlap")
    assert "prepare-test: number of questions" in degraded.message
    assert "is 3, expected at most 0" in degraded.message
    assert [request.job for request in decision.create] == ["train-sft"]
    assert [e.type for e in decision.events if e.reason == "SplitsOverlap"] == ["Warning"]
    again = decide(graph, builders.run(of), seen, decision.status, NOW)
    assert "SplitsOverlap" not in [event.reason for event in again.events]


def test_a_missing_layer_of_the_sandbox_is_named() -> None:
    """Degraded says which layer, at which stage and on how many pods; the run goes on."""
    of = builders.reft(reasoning="program", shards=4)
    graph = builders.graph(of)
    lacking = {"sandbox-without-namespaces": 2, "sandbox-missing": 2}
    found = builders.published(graph, "sample-test-warm-up", sample_test_warm_up=lacking)
    decision = decide(graph, builders.run(of), Observed(artifacts=found), RunStatus(), NOW)
    [degraded] = [c for c in decision.status.conditions if c.type == "Degraded"]
    assert degraded.reason == "SandboxIncomplete"
    assert degraded.message.startswith(
        "sample-test-warm-up: number of pods without the sandbox layer namespaces is 2, expected"
    )
    assert "landlock" not in degraded.message
    assert decision.create


def test_warned_run_succeeds() -> None:
    """What was only warned of does not make a run fail, and is still said at its end."""
    of = builders.reft()
    graph = builders.graph(of)
    found = builders.published(graph, train_reft={"lastKl": 1000})
    status = decide(graph, builders.run(of), Observed(artifacts=found), RunStatus(), NOW).status
    assert status.phase == "Succeeded"
    assert status.conditions[-1].reason == "KLTooLarge"


def phases() -> dict[str, RunStatus]:
    """Returns a status in every phase."""
    return {
        "Pending": see(problem=MISSING).status,
        "Running": see().status,
        "Suspended": see(suspend=True).status,
        "Succeeded": see(until=None).status,
        "Failed": see(cancel=True).status,
    }


@pytest.mark.parametrize("phase", phases())
def test_conditions_speak_kstatus(phase: str) -> None:
    """Ready, Reconciling and Stalled say in every phase what tools need to wait rightly."""
    status = phases()[phase]
    found = builders.conditions(status)
    assert status.phase == phase
    wanted = KSTATUS["Running" if phase == "Pending" else phase]
    assert (found["Ready"], found["Reconciling"], found["Stalled"]) == wanted
    assert found["Succeeded"] == {"Succeeded": "True", "Failed": "False"}.get(phase, "Unknown")
    assert found["Suspended"] == str(phase == "Suspended")
    assert status.observed_generation == 1
    assert all(condition.observed_generation == 1 for condition in status.conditions)
    assert all(condition.reason for condition in status.conditions)


def test_transition_time_changes_with_the_condition_only() -> None:
    """A condition keeps its transition time while its status stays."""
    first = see().status
    second = see(job("import", pod()), before=first, seconds=60).status
    third = see(until=None, before=second, seconds=120).status
    times = [builders.ready(status).last_transition_time for status in (first, second, third)]
    assert times == ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", "2026-03-01T12:02:00Z"]


def test_status_unchanged_is_equal() -> None:
    """Looking again later writes nothing new."""
    first = see(job("import", pod()), before=begun(at_attempt("import", 1)))
    again = see(job("import", pod()), before=first.status, seconds=300)
    assert again.status == first.status
    assert again.events == ()


def test_status_survives_the_api_server() -> None:
    """A status that was written and read again is the same."""
    status = see(until="evaluate-1").status
    assert RunStatus.model_validate(status.dump()) == status


def test_progress_is_shown_for_its_stage() -> None:
    """Share and estimate are of the stage that the worker told of."""
    graph = builders.graph()
    report = StageProgress(stage="generate-responses-1", fraction=0.405, eta_seconds=7260)
    seen = Observed(
        jobs=(job("sample-1", pod()),),
        artifacts=builders.published(graph, "train-sft"),
        progress=report,
    )
    before = begun(at_attempt("sample-1", 1), at_attempt("evaluate-0", 1))
    status = decide(graph, builders.run(), seen, before, NOW).status
    assert (status.stage, status.progress, status.eta) == ("generate-responses-1", "40%", "2h1m")
    assert status.iteration == "1/2"


def test_history_has_a_line_per_model() -> None:
    """Each model's line has what its stages measured."""
    lines = see(until="evaluate-1").status.history
    assert [line.iteration for line in lines] == [0, 1]
    assert (lines[0].pairs, lines[0].judge_accuracy) == (None, 0.75)
    assert (lines[1].pairs, lines[1].mean_score, lines[1].win_rate) == (40, 3.25, 0.6)
    assert lines[1].model.startswith("train-dpo-")


def crowded(graph: Graph, message: str) -> tuple[Observed, RunStatus]:
    """Returns the worst case for the status: all evaluations fail, late, and say much."""
    done = builders.published(graph, "build-pairs-100", but=[f"evaluate-{t}" for t in range(60)])
    said = words("retry", "E" * 63, message)
    jobs, books = [], []
    for name in (*(f"evaluate-{t}" for t in range(60)), "train-dpo-100"):
        pods = [pod("Failed", i, result=said) for i in range(64)]
        jobs.append(job(name, *pods, shards=64))
        books.append(at_attempt(name, 1, failures=2, disruptions=9))
    return Observed(jobs=tuple(jobs), artifacts=done), begun(*books)


@pytest.mark.parametrize("message", ["m" * 4000, "\u2603" * 1300, '"\\' * 2000])
def test_status_stays_small(message: str) -> None:
    """The status has at most 32 KiB after 100 iterations of 64 shards that complain at length."""
    of = spec(iterations=100, shards=64)
    graph = builders.graph(of)
    seen, before = crowded(graph, message)
    after = decide(graph, builders.run(of), seen, before, NOW).status
    assert len(canonical_json(after.dump())) <= 32768
    assert len(after.history) == 101
    assert sum(entry.failures == 3 for entry in after.jobs) == 61
    settled = decide(graph, builders.run(of), seen, after, later(1)).status
    assert decide(graph, builders.run(of), seen, settled, later(2)).status == settled
