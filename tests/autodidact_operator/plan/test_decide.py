from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from autodidact_contract.api.status import JobStatus, RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_contract.base import canonical_json
from autodidact_operator.plan.decide import decide, hindered, refused
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.types import Decision, Graph, Observed, ObservedJob, StageProgress
from support import builders
from support.builders import NOW, at_attempt, begun, job, later, pod, spec, words
from support.world import World

KSTATUS = {
    "Running": ("False", "True", "False"),
    "Suspended": ("False", "False", "False"),
    "Succeeded": ("True", "False", "False"),
    "Failed": ("False", "False", "True"),
}
"""Ready, Reconciling and Stalled by phase."""


def see(
    *jobs: ObservedJob,
    until: str | None = "",
    before: RunStatus | None = None,
    seconds: float = 0,
    problem: Problem | None = None,
    figures: Mapping[str, Mapping[str, float]] | None = None,
    **changes: Any,
) -> Decision:
    """Returns the decision on a run of which the stages up to ``until`` are published."""
    of = spec(**changes)
    graph = builders.graph(of)
    done = {} if until == "" else builders.published(graph, until, **(figures or {}))
    seen = Observed(jobs=jobs, artifacts=done, problem=problem)
    return decide(graph, builders.run(of), seen, before or RunStatus(), later(seconds))


def attempts(decision: Decision) -> list[tuple[str, int]]:
    """Returns the job and the attempt of each Job to create."""
    return [(request.job, request.attempt) for request in decision.create]


# Beginning and end.


def test_fresh_run_creates_the_import_job_alone() -> None:
    """A fresh run starts with one Job that imports all sources, and says so in its status."""
    decision = see()
    assert attempts(decision) == [("import", 1)]
    names = [task.name for task in decision.create[0].task.stages]
    assert names == ["import-model", "import-instructions", "import-heldout", "compare-prompts"]
    assert decision.status.phase == "Running"
    assert decision.status.jobs == (JobStatus(name="import", attempt=1),)
    assert not decision.delete


def test_everything_is_adopted() -> None:
    """A run whose every artifact is published succeeds at once and creates no Job."""
    decision = see(until=None)
    assert decision.create == ()
    assert decision.status.phase == "Succeeded"
    assert decision.wake_at is None
    assert decision.status.model.startswith("research/artifacts/train-dpo-")
    assert decision.status.report.startswith("research/artifacts/report-")


def test_partly_published_imports_are_not_imported_again() -> None:
    """Of the stages of one job only those run that are not published yet."""
    decision = see(until="import-model")
    names = [task.name for task in decision.create[0].task.stages]
    assert names == ["import-instructions", "import-heldout", "compare-prompts"]


def test_independent_jobs_start_together() -> None:
    """M1 is evaluated while it already samples."""
    assert attempts(see(until="train-sft")) == [("evaluate-0", 1), ("sample-1", 1)]


def test_stages_of_one_job_hand_their_outputs_on() -> None:
    """Within a Job a stage reads what an earlier one makes; the first reads what is published."""
    (_, request) = see(until="train-sft").create
    prompts, responses, judge = request.task.stages
    assert prompts.inputs["model"].artifact
    assert responses.inputs["prompts"].stage == "generate-prompts-1"
    assert judge.inputs["responses"].stage == "generate-responses-1"


def test_job_names_its_profile() -> None:
    """Each class of stages runs on the ComputeProfile that the spec names for it."""
    compute = {"generate": "gpu-1", "train": "gpu-8", "default": "cpu"}
    assert see(compute=compute).create[0].profile == "cpu"
    assert see(until="compare-prompts", compute=compute).create[0].profile == "gpu-8"
    assert see(until="train-sft", compute=compute).create[0].profile == "gpu-1"


def test_finished_run_stays_finished() -> None:
    """A run that succeeded stays so although the store has lost everything."""
    done = see(until=None).status
    decision = see(before=done, seconds=1e6)
    assert (decision.status, decision.create, decision.delete) == (done, (), ())
    assert decision.events == ()


def test_observed_generation_follows_edits_of_a_finished_run() -> None:
    """An edit after the end is acknowledged, or tools would wait for it forever."""
    graph = builders.graph()
    done = see(until=None).status
    decision = decide(graph, builders.run(generation=7), Observed(), done, NOW)
    assert decision.status.observed_generation == 7


def test_failed_run_ends_what_still_runs() -> None:
    """Jobs of a failed run are deleted, also in a later step."""
    running = job("import", pod())
    decision = see(running, cancel=True)
    assert decision.delete == ("import-1",)
    assert see(running, before=decision.status).delete == ("import-1",)
    assert see(replace(running, stopping=True), before=decision.status).delete == ()


# Attempts.


def test_job_at_work_is_left_alone() -> None:
    """While a Job runs nothing is created or deleted."""
    before = begun(at_attempt("import", 1))
    decision = see(job("import", pod()), before=before, seconds=1e6)
    assert (decision.create, decision.delete) == ((), ())
    assert decision.status.stage == "import-model"


def test_lost_status_is_made_up_from_the_jobs() -> None:
    """A Job created before the operator was killed counts although no status tells of it."""
    decision = see(job("import", pod(), attempt=3))
    assert decision.create == ()
    assert decision.status.jobs[0].attempt == 3


CAUSES = {
    "disrupted": ({"exit_code": 137, "disrupted": True}, "Disrupted", 0),
    "stopped": ({"exit_code": 143}, "Stopped", 0),
    "told to stop": ({"result": words("stopped", "Stopped", "saved")}, "Stopped", 0),
    "out of memory": ({"exit_code": 137, "container_reason": "OOMKilled"}, "OutOfMemory", 1),
    "told to retry": (
        {"exit_code": 75, "result": words("retry", "StoreBusy", "503")},
        "StoreBusy",
        1,
    ),
    "crashed": ({"exit_code": 139}, "Error", 1),
    "no room on the node": ({"exit_code": 137, "reason": "Evicted", "message": "x"}, "Evicted", 1),
    "over its own limit": (
        {"exit_code": 143, "reason": "Evicted", "message": "exceeds its limit"},
        "Evicted",
        1,
    ),
    "vanished": ({"exit_code": None, "container_reason": ""}, "WorkerFailed", 1),
}


@pytest.mark.parametrize(("fields", "reason", "charged"), CAUSES.values(), ids=CAUSES)
def test_failures_are_charged_by_their_cause(
    fields: dict[str, Any], reason: str, charged: int
) -> None:
    """An attempt's end is charged once, by its cause, and the next waits for its time."""
    failed = job("import", pod("Failed", **fields))
    decision = see(failed, before=begun(at_attempt("import", 1)))
    (books,) = decision.status.jobs
    assert (books.reason, books.failures, books.disruptions) == (reason, charged, 1 - charged)
    assert (books.counted, books.retry_at) == (1, later(5).isoformat())
    assert decision.create == ()
    assert decision.wake_at == later(5)
    again = see(failed, before=decision.status, seconds=1)
    assert (again.status, again.events) == (decision.status, ())
    assert attempts(see(failed, before=decision.status, seconds=5)) == [("import", 2)]


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


def test_the_kubelets_words_are_told() -> None:
    """What the kubelet says of a pod that it evicted is in the next attempt's reason."""
    evicted = pod("Failed", exit_code=137, reason="Evicted", message="exceeds the limit of 1Mi")
    decision = see(job("import", evicted), before=begun(at_attempt("import", 1)))
    assert decision.status.jobs[0].message == "Job import-1 failed: exceeds the limit of 1Mi"


def test_disruptions_are_free_and_unlimited() -> None:
    """A job that is preempted a hundred times is tried again soon, with backoffLimit 0."""
    world = World(spec=spec(backoffLimit=0))
    for attempt in range(1, 101):
        world.step()
        world.fail(world.live("import").seen.name, exit_code=137, disrupted=True)
        world.step()
        assert world.status.phase == "Running"
        assert world.books("import").disruptions == attempt
        world.now += timedelta(seconds=5)
    world.play()
    assert world.status.phase == "Succeeded"


def test_disruption_of_a_survivor_frees_the_whole_attempt() -> None:
    """Where one pod was preempted, the failures of the others are not charged."""
    pods = pod("Failed", 0, finished_at=NOW), pod("Failed", 1, disrupted=True, finished_at=later(5))
    decision = see(job("import", *pods, shards=2), before=begun(at_attempt("import", 1)))
    assert decision.status.jobs[0].failures == 0


@pytest.mark.parametrize("code", ["user", "retry"])
def test_the_failing_stage_of_a_job_is_named(code: str) -> None:
    """A Job of several stages says which one failed; the one named as the Job is not told twice."""
    for stage, told in (("import-ift", "import-ift: no room"), ("import", "no room")):
        failed = job("import", pod("Failed", result=words(code, "Full", "no room", stage)))
        decision = see(failed, before=begun(at_attempt("import", 1)), backoffLimit=0)
        assert builders.ready(decision.status).message == f"import: {told}"
        assert decision.status.jobs[0].message == told


def test_first_failing_pod_is_the_cause() -> None:
    """What the pod says that failed first goes, whatever the order of the list."""
    first = pod("Failed", 1, finished_at=NOW, result=words("retry", "NaNLoss", "loss is NaN"))
    second = pod("Failed", 0, finished_at=later(3), result=words("retry", "LostPeer", "rank 1"))
    for pods in (first, second), (second, first):
        decision = see(job("import", *pods, shards=2), before=begun(at_attempt("import", 1)))
        assert decision.status.jobs[0].reason == "NaNLoss"


def kill_for_memory(world: World) -> None:
    """Has the import run out of memory, and the operator see it."""
    world.step()
    world.fail(world.live("import").seen.name, exit_code=137, container_reason="OOMKilled")
    world.step()


def run_out_of_memory(world: World) -> None:
    """Has the import run out of memory, and time pass until another attempt may be due."""
    kill_for_memory(world)
    world.now += timedelta(seconds=10)
    world.step()


def test_out_of_memory_gets_the_larger_size_once() -> None:
    """There is one attempt with the larger size, which backoffLimit 0 does not forbid."""
    world = World(spec=spec(backoffLimit=0), enlargeable=frozenset({"default"}))
    kill_for_memory(world)
    assert builders.ready(world.status).message.startswith("import failed 1 times and is tried")
    world.now += timedelta(seconds=10)
    world.step()
    assert world.live("import").request.larger
    assert (world.books("import").failures, world.books("import").out_of_memory) == (0, 1)
    run_out_of_memory(world)
    assert world.created == [("import", 1), ("import", 2)]
    condition = builders.ready(world.status)
    assert (world.status.phase, condition.reason) == ("Failed", "OutOfMemory")


def test_the_larger_size_is_beside_the_attempts_that_are_allowed() -> None:
    """What runs out of memory in the larger size as well is given up, however many are allowed."""
    world = World(spec=spec(backoffLimit=5), enlargeable=frozenset({"default"}))
    run_out_of_memory(world)
    run_out_of_memory(world)
    assert world.status.phase == "Failed"


def test_out_of_memory_without_a_larger_size_is_tried_as_often_as_allowed() -> None:
    """The machine may have been short of memory for a while: each attempt is charged."""
    world = World(spec=spec(backoffLimit=1))
    run_out_of_memory(world)
    assert world.books("import").failures == 1
    run_out_of_memory(world)
    assert (world.status.phase, len(world.created)) == ("Failed", 2)


def test_last_words_of_a_log_are_told() -> None:
    """A program that could not start tells why in its attempt's message."""
    failed = pod("Failed", exit_code=1, last_words="exec /usr/bin/python: exec format error")
    decision = see(job("import", failed), before=begun(at_attempt("import", 1)))
    assert decision.status.jobs[0].message == (
        "Job import-1 failed with exit code 1: exec /usr/bin/python: exec format error; "
        "see kubectl logs job/import-1"
    )


@pytest.mark.parametrize("exit_code", [64, 1])
def test_user_failures_are_never_tried_again(exit_code: int) -> None:
    """What the user must mend fails the run at once with the worker's own sentence."""
    said = words("user", "InvalidData", "line 3 of ift.jsonl has no response")
    failed = job("import", pod("Failed", exit_code=exit_code, result=said))
    decision = see(failed, before=begun(at_attempt("import", 1)))
    assert decision.status.phase == "Failed"
    condition = builders.ready(decision.status)
    assert condition.reason == "InvalidData"
    assert condition.message == "import: line 3 of ift.jsonl has no response"


def test_user_failure_without_words_points_at_the_log() -> None:
    """Exit code 64 alone is enough to end the run; the message says where to look."""
    failed = job("import", pod("Failed", exit_code=64))
    decision = see(failed, before=begun(at_attempt("import", 1)))
    assert decision.status.phase == "Failed"
    assert "kubectl logs job/import-1" in builders.ready(decision.status).message


def test_failures_are_bounded_with_growing_delays() -> None:
    """With backoffLimit 3 a job has four attempts, 5, 10 and 20 seconds apart."""
    world, delays = World(spec=spec()), []
    while not world.done:
        world.step()
        world.fail(world.live("import").seen.name)
        decision = world.step()
        if decision.wake_at:
            delays.append((decision.wake_at - world.now).total_seconds())
            world.now = decision.wake_at
    assert delays == [5, 10, 20]
    assert world.created == [("import", attempt) for attempt in (1, 2, 3, 4)]
    assert builders.ready(world.status).reason == "Error"


def test_delays_have_a_longest() -> None:
    """However often a job failed, it waits for five minutes at most."""
    before = begun(at_attempt("import", 60, failures=59))
    failed = job("import", pod("Failed"), attempt=60)
    decision = see(failed, before=before, backoffLimit=100)
    assert decision.wake_at == later(300)


def test_success_without_artifact_is_no_success() -> None:
    """A Job that completed without publishing is tried again, and says what may be wrong."""
    world = World(spec=spec(backoffLimit=0))
    world.step()
    name = world.live("import").seen.name
    world.change(name, pods=(pod("Succeeded"),), ended="Complete")
    world.step()
    assert world.status.phase == "Failed"
    assert builders.ready(world.status).reason == "NotPublished"


def test_failed_job_without_failed_pod_tells_the_jobs_reason() -> None:
    """Where Kubernetes ended the Job itself, its own reason is shown, not a guess at the store."""
    failed = job(
        "sample-1",
        pod("Succeeded", 0),
        shards=2,
        ended="Failed",
        reason="DeadlineExceeded",
        message="Job was active longer than specified deadline",
    )
    decision = see(failed, before=begun(at_attempt("sample-1", 1)), until="train-sft")
    (books,) = (entry for entry in decision.status.jobs if entry.name == "sample-1")
    assert books.reason == "DeadlineExceeded"


def test_deleted_job_is_free() -> None:
    """A Job that somebody deleted is made anew without being charged."""
    decision = see(before=begun(at_attempt("import", 1)))
    (books,) = decision.status.jobs
    assert (books.reason, books.failures) == ("Deleted", 0)
    assert attempts(see(before=decision.status, seconds=5)) == [("import", 2)]


def test_next_attempt_waits_until_the_last_is_gone() -> None:
    """Two attempts never hold GPUs at the same time."""
    before = begun(JobStatus(name="import", attempt=1, counted=1))
    for last in (
        job("import", pod("Failed"), pod(index=1), shards=2),
        job("import", pod("Failed"), stopping=True),
    ):
        assert see(last, before=before, seconds=60).create == ()
    gone = job("import", pod("Failed", 0), pod("Failed", 1), shards=2)
    assert attempts(see(gone, before=before, seconds=60)) == [("import", 2)]


@pytest.mark.parametrize("reason", ["Error", "", "not camel case", "X" * 5000, "\u00e9\u00e8"])
def test_any_reason_a_worker_gives_is_survived(reason: str) -> None:
    """A reason that Kubernetes would refuse in a condition is replaced, never written."""
    failed = job("import", pod("Failed", result=words("user", reason, "m" * 4000)))
    condition = builders.ready(see(failed, before=begun(at_attempt("import", 1))).status)
    assert condition.reason in ("Error", "WorkerFailed")


# Pods that do not start.


def test_waiting_reason_is_shown_at_once() -> None:
    """While a pod cannot start, the run says why."""
    pods = pod("Pending", waiting="ImagePullBackOff", waiting_message="no such tag")
    decision = see(job("import", pods), before=begun(at_attempt("import", 1)), seconds=3)
    condition = builders.ready(decision.status)
    assert condition.reason == "ImagePullBackOff"
    assert "no such tag" in condition.message
    assert decision.wake_at == later(900)


def test_start_deadline_ends_an_attempt() -> None:
    """A Job that did not start in time is deleted and charged, with the reason it waited for."""
    pods = pod("Pending", waiting="Unschedulable", waiting_message="0/3 nodes have a GPU")
    before = begun(at_attempt("import", 1))
    decision = see(job("import", pods), before=before, seconds=900)
    assert decision.delete == ("import-1",)
    (books,) = decision.status.jobs
    assert (books.reason, books.failures) == ("Unschedulable", 1)
    assert "0/3 nodes have a GPU" in books.message
    ended = see(job("import", pods), before=before, seconds=900, backoffLimit=0)
    assert ended.status.phase == "Failed"
    assert ended.delete == ("import-1",)


def test_job_without_pods_is_late_too() -> None:
    """Where quota forbids the pods the attempt ends with what the Job says of it."""
    before = begun(at_attempt("import", 1))
    decision = see(job("import"), before=before, seconds=901)
    assert decision.status.jobs[0].reason == "NotStarted"


def test_queue_may_take_its_time() -> None:
    """A Job that a queue holds back is neither late nor failed."""
    before = begun(at_attempt("import", 1))
    decision = see(job("import", suspended=True), before=before, seconds=1e6)
    assert (decision.delete, decision.wake_at) == ((), None)


def test_start_deadline_counts_from_the_queues_release() -> None:
    """A Job that a queue held back for hours has the whole deadline once it is let go."""
    before = begun(at_attempt("import", 1))
    released = job("import", pod("Pending"), started_at=later(7200))
    decision = see(released, before=before, seconds=7201)
    assert (decision.delete, decision.wake_at) == ((), later(8100))
    assert see(released, before=before, seconds=8100).delete == ("import-1",)


def test_shard_that_never_starts_ends_the_attempt() -> None:
    """When all other shards are done and one cannot start, the deadline holds for it as well."""
    pods = (
        pod("Succeeded", 0, finished_at=later(5000)),
        pod("Pending", 1, waiting="ImagePullBackOff", waiting_message="no disk"),
    )
    stuck = job("generate-responses-1", *pods, shards=2)
    before = begun(at_attempt("generate-responses-1", 1), JobStatus(name="evaluate-0", attempt=1))
    given = {"before": before, "until": "generate-prompts-1", "shards": 2}
    early = see(job("evaluate-0", pod(), shards=2), stuck, seconds=5899, **given)
    assert early.delete == ()
    assert builders.ready(early.status).reason == "ImagePullBackOff"
    late = see(job("evaluate-0", pod(), shards=2), stuck, seconds=5900, **given)
    assert late.delete == ("generate-responses-1-1",)


def test_shards_may_take_turns() -> None:
    """Pending shards are not late while another one of the Job runs."""
    pods = pod("Succeeded", 0), pod("Running", 1), pod("Pending", 2, waiting="Unschedulable")
    at_work = job("generate-responses-1", *pods, shards=3)
    before = begun(at_attempt("generate-responses-1", 1))
    decision = see(at_work, before=before, until="generate-prompts-1", shards=3, seconds=1e5)
    assert "generate-responses-1-1" not in decision.delete


# Suspend, cancel, deadline.


def test_suspend_and_resume() -> None:
    """Suspending ends the Jobs and charges nobody; resuming goes on with the next attempt."""
    world = World(spec=spec())
    world.step()
    first = world.live("import").seen.name
    world.start(first)
    world.edit(suspend=True)
    decision = world.step()
    assert (decision.delete, world.status.phase) == ((first,), "Suspended")
    assert [event.reason for event in decision.events] == ["Suspended"]
    assert world.step().events == ()
    world.edit(suspend=False)
    assert world.step().create == ()
    world.fail(first, exit_code=143)
    world.vanish(first)
    world.step()
    assert world.created == [("import", 1), ("import", 2)]
    assert world.books("import").failures == 0
    world.play()
    assert world.status.phase == "Succeeded"


def test_suspended_run_waits_for_no_profile() -> None:
    """A missing ComputeProfile does not fail a run that is suspended."""
    world = World(spec=spec(suspend=True), problem=Problem("ComputeProfileNotFound", "no gpu-8"))
    world.step()
    world.now += timedelta(days=1)
    world.step()
    assert world.status.phase == "Suspended"
    world.edit(suspend=False)
    world.step()
    assert world.status.phase == "Pending"


def test_run_created_suspended_starts_nothing() -> None:
    """A run may be created suspended, for others to release."""
    decision = see(suspend=True)
    assert (decision.create, decision.status.phase) == ((), "Suspended")


def test_cancel_ends_a_run_in_any_state() -> None:
    """A cancelled run is Failed with the reason Cancelled, suspended or not."""
    for suspend in False, True:
        decision = see(job("import", pod()), cancel=True, suspend=suspend)
        assert decision.status.phase == "Failed"
        assert builders.ready(decision.status).reason == "Cancelled"
        assert decision.create == ()


def test_deadline_ends_a_run() -> None:
    """A run that is not done in time fails, suspended or not, and wakes up for that."""
    running = job("import", pod())
    before = begun(at_attempt("import", 1))
    early = see(running, before=before, seconds=59, deadlineSeconds=60)
    assert (early.status.phase, early.wake_at) == ("Running", later(60))
    for suspend in False, True:
        late = see(running, before=before, seconds=60, deadlineSeconds=60, suspend=suspend)
        assert builders.ready(late.status).reason == "DeadlineExceeded"
        assert late.delete == ("import-1",)


def test_run_that_is_done_is_not_late() -> None:
    """What was reached counts, also when the operator looks after the deadline."""
    decision = see(until=None, before=begun(), seconds=61, deadlineSeconds=60)
    assert decision.status.phase == "Succeeded"


# Hindrances.

MISSING = Problem("ComputeProfileNotFound", "no profile gpu-8")
STORE = Problem("StoreUnavailable", "http://minio does not answer")


def test_problem_waits_and_then_fails() -> None:
    """A missing profile is waited for, visibly, until startDeadlineSeconds have passed."""
    first = see(problem=MISSING)
    assert (first.create, first.status.phase) == ((), "Pending")
    assert builders.ready(first.status).reason == MISSING[0]
    assert first.wake_at == later(900)
    assert see(problem=MISSING, before=first.status, seconds=899).status.phase == "Pending"
    last = see(problem=MISSING, before=first.status, seconds=900).status
    assert (last.phase, builders.ready(last).message) == ("Failed", MISSING[1])
    assert last.waiting_since is None


def test_problem_that_vanishes_is_forgotten() -> None:
    """The patience for the next problem is whole again."""
    first = see(problem=MISSING).status
    second = see(before=first, seconds=800)
    assert attempts(second) == [("import", 1)]
    assert second.status.waiting_since is None
    third = see(until="import-heldout", problem=MISSING, before=second.status, seconds=901)
    assert third.status.phase == "Pending"


def test_problem_does_not_end_what_is_at_work() -> None:
    """What a later stage lacks does not disturb a Job at work, however long that takes."""
    first = see(problem=None).status
    decision = see(job("import", pod()), problem=MISSING, before=first, seconds=99999)
    assert decision.status.phase == "Running"
    assert not decision.delete


def test_hindrance_keeps_what_is_known() -> None:
    """While the store is out of reach the status loses nothing and no Job is touched."""
    known = see(until="evaluate-1").status
    decision = hindered(builders.run(), STORE, known, later(10))
    status = decision.status
    assert (decision.create, decision.delete) == ((), ())
    assert (status.history, status.jobs, status.model) == (known.history, known.jobs, known.model)
    assert (status.phase, builders.ready(status).reason) == ("Pending", "StoreUnavailable")
    assert status.waiting_since == later(10).isoformat()
    again = hindered(builders.run(), STORE, status, later(20))
    assert again.status == status
    assert again.wake_at == later(910)


def test_hindrance_gives_up_in_time_and_ends_the_jobs() -> None:
    """A store that stays away fails the run; its Jobs are ended in a step that follows at once."""
    first = hindered(builders.run(), STORE, begun(at_attempt("import", 1)), NOW).status
    last = hindered(builders.run(), STORE, first, later(900))
    assert (last.status.phase, last.wake_at) == ("Failed", later(900))
    assert last.status.waiting_since is None
    assert [event.reason for event in last.events] == ["StoreUnavailable"]
    after = see(job("import", pod()), before=last.status, seconds=900)
    assert after.delete == ("import-1",)


def test_cancel_needs_no_store() -> None:
    """A run can be cancelled while the store is out of reach."""
    cancelled = hindered(builders.run(spec(cancel=True)), STORE, begun(), NOW).status
    assert builders.ready(cancelled).reason == "Cancelled"
    assert hindered(builders.run(), STORE, cancelled, later(1)).status == cancelled


def test_refused_run_fails_with_the_reason() -> None:
    """A run that can never work ends at once, and stays as it is however often it is looked at."""
    first = refused(3, Problem("InvalidSpec", "spec.iterations: too large"), (), RunStatus(), NOW)
    assert (first.status.phase, first.status.observed_generation) == ("Failed", 3)
    assert [event.type for event in first.events] == ["Warning"]
    again = refused(4, Problem("InvalidSpec", "another"), (), first.status, later(9))
    assert again.status == first.status.model_copy(update={"observed_generation": 4})
    assert again.events == ()


def test_refused_run_leaves_no_job_at_work() -> None:
    """A run that is refused after it began, by a setting that changed, has its Jobs ended."""
    at_work = builders.job("import", builders.pod())
    problem = Problem("LocationNotAllowed", "no longer")
    assert refused(3, problem, (at_work,), begun(), NOW).delete == (at_work.name,)


# Gates.


def gated(figures: Mapping[str, Mapping[str, float]], **changes: Any) -> World:
    """Returns the world of a run after its end, in which stages measured these figures."""
    world = World(spec=spec(**changes), figures={k: dict(v) for k, v in figures.items()})
    world.play()
    return world


def test_stop_before_the_first_dpo_fails() -> None:
    """A gate that stops the run before it learned anything fails it; the report is made."""
    world = gated({"build-pairs-1": {"pairs": 0}})
    assert world.status.phase == "Failed"
    condition = builders.ready(world.status)
    assert condition.reason == "TooFewPairs"
    assert condition.message.startswith("build-pairs-1: preference pairs is 0, the gate wants")
    assert world.status.report
    assert ("train-dpo-1", 1) not in world.created


def test_stop_later_succeeds_with_the_last_good_model() -> None:
    """After a DPO round a gate ends the run as Succeeded; its model is the last that was made."""
    world = gated({"build-pairs-2": {"pairs": 0}})
    assert world.status.phase == "Succeeded"
    assert builders.ready(world.status).reason == "TooFewPairs"
    assert world.status.model == world.known["train-dpo-1"].folder
    assert world.status.report
    assert {line.iteration for line in world.status.history} == {0, 1, 2}


def test_fail_fails_however_late() -> None:
    """A gate with action Fail fails the run after any number of rounds."""
    world = gated({"judge-2": {"parsed": 3}})
    assert (world.status.phase, builders.ready(world.status).reason) == (
        "Failed",
        "JudgeUnreadable",
    )


def test_fail_goes_before_stop() -> None:
    """Where several gates trip, one that fails the run decides."""
    gates = {"minMeanGap": {"limit": 2, "action": "Fail"}, "minPairs": {"limit": 50}}
    world = gated(
        {"build-pairs-2": {"gap": 1.0, "pairs": 45}, "build-pairs-1": {"gap": 3.0, "pairs": 60}},
        gates=gates,
    )
    assert (world.status.phase, builders.ready(world.status).reason) == ("Failed", "GapTooSmall")


GATES = {
    "minParseRate": ({"limit": 0.9, "action": "Fail"}, "judge-1", {"parsed": 270}, {"parsed": 269}),
    "maxTieRate": ({"limit": 0.2}, "judge-1", {"ties": 5}, {"ties": 6}),
    "minPairs": ({"limit": 30}, "build-pairs-1", {"pairs": 30}, {"pairs": 29}),
    "minMeanGap": ({"limit": 0.5}, "build-pairs-1", {"gap": 0.5}, {"gap": 0.49}),
    "minJudgeAccuracy": (
        {"limit": 0.6},
        "evaluate-0",
        {"pairwiseAccuracy": 0.6},
        {"pairwiseAccuracy": 0.59},
    ),
}


@pytest.mark.parametrize("gate", GATES)
def test_gate_lets_its_limit_pass(gate: str) -> None:
    """A figure may be equal to its limit, and trips the gate beyond it."""
    limits, stage, good, bad = GATES[gate]
    assert gated({stage: good}, gates={gate: limits}).status.phase == "Succeeded"
    assert gated({stage: bad}, gates={gate: limits}).status.phase == "Failed"


@pytest.mark.parametrize(
    ("gate", "limits", "good", "bad", "reason"),
    [
        ("minGain", {"limit": 0.1}, {"gain": 0.1}, {"gain": 0.09}, "NoGain"),
        (
            "maxLengthRatio",
            {"limit": 2},
            {"lengthRatio": 2.0},
            {"lengthRatio": 2.1},
            "RepliesTooLong",
        ),
    ],
)
def test_a_model_that_its_gate_rejects_is_not_the_result(
    gate: str,
    limits: dict[str, Any],
    good: dict[str, float],
    bad: dict[str, float],
    reason: str,
) -> None:
    """The one before is; Stop ends the run as Succeeded with it, Fail fails it.

    Where the first round's model is rejected nothing was learned, so that both fail the run.
    """
    done = gated({"evaluate-2": good}, gates={gate: limits})
    assert done.status.model == done.known["train-dpo-2"].folder
    for t, action, phase in (
        *((1, "Stop", "Failed"), (1, "Fail", "Failed")),
        *((2, "Stop", "Succeeded"), (2, "Fail", "Failed")),
    ):
        stopped = gated({f"evaluate-{t}": bad}, gates={gate: {**limits, "action": action}})
        assert (stopped.status.phase, builders.ready(stopped.status).reason) == (phase, reason)
        kept = "train-sft" if t == 1 else "train-dpo-1"
        assert stopped.status.model == stopped.known[kept].folder
        assert (("sample-2", 1) in stopped.created) == (t == 2)
        assert stopped.status.report


def test_a_mean_of_nothing_is_within_no_limit() -> None:
    """Where M1 says nothing there is no ratio of lengths: a maximum trips, and says why."""
    nothing: dict[str, Any] = {"evaluate-2": {"lengthRatio": None}}
    world = gated(nothing, gates={"maxLengthRatio": {"limit": 100}})
    assert builders.ready(world.status).reason == "RepliesTooLong"
    assert (
        "M1's cannot be computed, the gate wants at most 100" in world.status.conditions[0].message
    )
    silent: dict[str, Any] = {"judge-2": {"scoreEntropy": None}}
    off = gated(silent, gates={"minScoreEntropy": {"limit": 0}})
    assert builders.ready(off.status).reason == "Completed"
    on = gated(silent, gates={"minScoreEntropy": {"limit": 0.1}})
    assert "is 0" not in on.status.conditions[0].message


def test_ties_stop_a_run_whose_reward_is_implicit() -> None:
    """Ties are counted of any scores; a parse rate, which has a default, only of judgements."""
    changes: dict[str, Any] = {"reward": "implicit", "gates": {"maxTieRate": {"limit": 0.5}}}
    figures = {"judge-2": {"prompts": 25, "ties": 13}}
    world = gated(figures, **changes)
    assert builders.ready(world.status).reason == "TooManyTies"
    assert gated({"judge-2": {"prompts": 25, "ties": 12}}, **changes).status.phase == "Succeeded"
    reasons = [check.reason for check in world.graph["judge-1"].checks]
    assert reasons == ["TooManyTies"]


def test_a_gate_on_the_judge_stops_its_siblings() -> None:
    """With pods of their own they wait for the judge, and none works on once it has tripped."""
    world = gated(
        {"judge-2": {"parsed": 3}},
        shards=2,
        pairs={"anchoredLoser": True},
        dpo={"consistency": True},
    )
    assert builders.ready(world.status).reason == "JudgeUnreadable"
    assert ("judge-2", 1) in world.created
    for name in ("generate-anchors-2", "judge-anchors-2", "judge-by-previous-2"):
        assert (name, 1) not in world.created


def test_the_first_evaluation_has_nothing_to_gain() -> None:
    """M1 meets nobody before it, so that its missing gain ends no run."""
    world = gated({"evaluate-0": {"gain": 0.0}}, gates={"minGain": {"limit": 0.1}})
    assert world.status.phase == "Succeeded"


def test_no_pairs_end_a_run_without_gates() -> None:
    """Without any pair there is nothing to learn from, even where the gate is off."""
    world = gated({"build-pairs-2": {"pairs": 0}}, gates={"minPairs": None, "minParseRate": None})
    assert builders.ready(world.status).reason == "TooFewPairs"


def test_gate_that_is_off_lets_everything_pass() -> None:
    """A judge that nobody can read is no obstacle where minParseRate is null."""
    world = gated({"judge-1": {"parsed": 0}}, gates={"minParseRate": None})
    assert world.status.phase == "Succeeded"


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


def test_weak_warm_up_fails_before_reinforcement() -> None:
    """Where the warm-up gets nothing right, the run fails and samples nothing."""
    of = builders.reft()
    graph = builders.graph(of)
    found = builders.published(graph, "train-sft", train_sft={"accuracy": 0.0})
    decision = decide(graph, builders.run(of), Observed(artifacts=found), RunStatus(), NOW)
    # The report still tells of what there is.
    assert [request.job for request in decision.create] == ["report"]
    done = {**found, "report": builders.artifact(graph["report"], found)}
    status = decide(graph, builders.run(of), Observed(artifacts=done), RunStatus(), NOW).status
    assert (status.phase, status.conditions[0].reason) == ("Failed", "WarmUpTooWeak")


def test_gated_judge_is_measured_before_it_judges() -> None:
    """With minJudgeAccuracy an iteration waits for the evaluation of its judge."""
    gates = {"minJudgeAccuracy": {"limit": 0.6}}
    assert attempts(see(until="train-sft", gates=gates)) == [("evaluate-0", 1)]


# Status.


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


def test_every_stage_is_told_of_once() -> None:
    """A run tells of each stage it made exactly once, and of its end."""
    world, told = World(spec=spec()), []
    for _ in range(60):
        told += world.step().events
        for name, at_work in list(world.jobs.items()):
            if at_work.alive:
                world.succeed(name)
        world.now += timedelta(seconds=1)
    names = [event.message.split(":")[0] for event in told if event.reason == "StageDone"]
    assert sorted(names) == sorted(stage.name for stage in world.graph.stages)
    assert [event.reason for event in told][-1] == "Completed"


def test_two_iterations_at_once_tell_nothing_twice() -> None:
    """An evaluation that lags behind makes no stage be told of again."""
    graph = builders.graph()
    done = builders.published(graph, "train-dpo-1", but=["evaluate-0"])
    jobs = job("evaluate-1", pod()), job("sample-2", pod()), job("evaluate-0", pod())
    status = begun(*(at_attempt(j.job, 1) for j in jobs))
    for stage in "evaluate-1", "generate-prompts-2", "evaluate-1", "judge-2":
        seen = Observed(
            jobs=jobs, artifacts=done, progress=StageProgress(stage=stage, fraction=0.5)
        )
        decision = decide(graph, builders.run(), seen, status, NOW)
        status = decision.status
        assert status.stage == stage
        assert decision.events == ()


def test_adoption_is_told_of() -> None:
    """A run that finds stages published before it says how many."""
    (event,) = see(until="train-sft").events
    assert (event.reason, event.type) == ("Adopted", "Normal")


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


def test_task_fits_an_environment_variable() -> None:
    """The report of the longest run has a task below the 128 KiB that Linux allows."""
    of = spec(iterations=100, shards=64)
    graph = builders.graph(of)
    done: dict[str, Artifact] = builders.published(graph, but=["report"])
    decision = decide(graph, builders.run(of), Observed(artifacts=done), RunStatus(), NOW)
    (request,) = decision.create
    assert len(request.task.model_dump_json(by_alias=True, exclude_none=True)) < 128 * 1024 - 32
