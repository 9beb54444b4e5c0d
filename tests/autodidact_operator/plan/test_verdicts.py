from autodidact_operator.plan.decide import hindered
from autodidact_operator.plan.problems import Problem
from support import builders
from support.builders import NOW, at_attempt, begun, job, later, pod, spec
from support.decisions import MISSING, attempts, see


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
