from datetime import timedelta

from autodidact_contract.api.status import JobStatus
from support import builders
from support.builders import NOW, at_attempt, begun, job, later, pod, spec
from support.decisions import attempts, see
from support.world import World


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
