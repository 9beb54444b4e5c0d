from datetime import timedelta

from autodidact_operator.plan.decide import decide
from autodidact_operator.plan.types import Observed, StageProgress
from support import builders
from support.builders import NOW, at_attempt, begun, job, pod, spec
from support.decisions import see
from support.world import World


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
