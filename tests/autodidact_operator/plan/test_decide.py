from dataclasses import replace
from datetime import timedelta

from autodidact_contract.api.status import JobStatus, RunStatus
from autodidact_contract.artifacts import Artifact
from autodidact_operator.plan.decide import decide, refused
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.types import Observed
from support import builders
from support.builders import NOW, at_attempt, begun, job, later, pod, spec
from support.decisions import attempts, see
from support.world import World


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


def test_task_fits_an_environment_variable() -> None:
    """The report of the longest run has a task below the 128 KiB that Linux allows."""
    of = spec(iterations=100, shards=64)
    graph = builders.graph(of)
    done: dict[str, Artifact] = builders.published(graph, but=["report"])
    decision = decide(graph, builders.run(of), Observed(artifacts=done), RunStatus(), NOW)
    (request,) = decision.create
    assert len(request.task.model_dump_json(by_alias=True, exclude_none=True)) < 128 * 1024 - 32
