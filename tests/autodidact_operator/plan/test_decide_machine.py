"""Random histories of a run: whatever happens, the planner keeps its promises.

``HYPOTHESIS_PROFILE=thorough`` looks at a hundred times as many and more.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from autodidact_contract.api.run import RunSpec
from autodidact_contract.api.status import RunStatus
from autodidact_contract.base import canonical_json
from autodidact_operator.plan.decide import decide, hindered
from autodidact_operator.plan.problems import Problem
from autodidact_operator.plan.progression import skipped, tripped
from autodidact_operator.plan.types import FINAL, Decision, Observed
from support import builders
from support.world import World

PROBLEM = Problem("ComputeProfileNotFound", "there is none")
REASONS = ("Error", "OOMKilled", "ContainerCannotRun", "")
WAITING = ("ImagePullBackOff", "Unschedulable", "CreateContainerConfigError")
JUMPS = (1, 4, 5, 20, 299, 301, 1000, 5000)

FIGURES = st.sampled_from(
    [
        {},
        {"build-pairs-1": {"pairs": 0}},
        {"build-pairs-2": {"pairs": 3}},
        {"build-pairs-2": {"gap": 0.1}},
        {"judge-1": {"parsed": 10}},
        {"judge-2": {"ties": 24}},
        {"evaluate-0": {"pairwiseAccuracy": 0.1}},
        {"evaluate-1": {"pairwiseAccuracy": 0.1}},
        {"evaluate-2": {"pairwiseAccuracy": 0.1}},
        {"train-sft": {"accuracy": 0.0}},
        {"train-reft": {"lastKl": 1000}},
        {"prepare-test": {"overlap": 3}},
    ]
)
GATES = st.sampled_from(
    [
        {},
        {"minMeanGap": {"limit": 1, "action": "Fail"}, "maxTieRate": {"limit": 0.5}},
        {"minJudgeAccuracy": {"limit": 0.5}},
    ]
)


def event(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Makes a method a rule, after which the operator mostly looks."""

    def decorate(method: Callable[..., None]) -> Any:
        def happens(self: "RunMachine", *, looks: bool, **values: Any) -> None:
            method(self, **values)
            if looks:
                self.look()

        happens.__name__ = method.__name__
        return rule(looks=st.sampled_from([True, True, False]), **drawn)(happens)

    return decorate


class RunMachine(RuleBasedStateMachine):
    """Everything that may happen to a run, and to the operator that works on it."""

    @initialize(
        shards=st.sampled_from([1, 1, 2]),
        iterations=st.sampled_from([1, 2, 2]),
        baselines=st.sampled_from([None, None, (), ("sft", "offline-self-training")]),
        backoff_limit=st.integers(0, 2),
        gates=GATES,
        figures=FIGURES,
        beforehand=st.sampled_from([0, 0, 0, 3, 7]),
        enlargeable=st.sampled_from([frozenset(), frozenset({"default"})]),
    )
    def begin(
        self,
        *,
        shards: int,
        iterations: int,
        baselines: tuple[str, ...] | None,
        backoff_limit: int,
        gates: dict[str, Any],
        figures: dict[str, dict[str, float]],
        beforehand: int,
        enlargeable: frozenset[str],
    ) -> None:
        """A run of one of the kinds is created; some of its stages may have been published by an earlier one."""
        self.backoff_limit = backoff_limit
        spec: RunSpec = builders.spec(
            shards=shards, iterations=iterations, backoffLimit=backoff_limit, gates=gates
        )
        if baselines is not None:
            spec = builders.reft(shards=shards, backoffLimit=backoff_limit, baselines=baselines)
        self.world = World(spec=spec, figures=figures, enlargeable=enlargeable)
        self.lost = False
        self.final: RunStatus | None = None
        self.attempts: dict[str, int] = {}
        earlier: dict[str, Any] = {}
        for stage in self.world.graph.stages[:beforehand]:
            made = builders.artifact(stage, earlier, **figures.get(stage.name, {}))
            earlier[stage.name] = made
            self.world.store[made.kind, made.key] = made

    def _pick(self, data: st.DataObject, *, alive: bool) -> str | None:
        names = sorted(name for name, job in self.world.jobs.items() if job.alive == alive)
        return data.draw(st.sampled_from(names)) if names else None

    # The operator.

    @rule()
    def look(self) -> None:
        """The operator looks at the run and does what is due."""
        world = self.world
        before, seen = world.status, world.observed()
        fresh = not world.lagging  # a deletion can end the lag, and show what happened in it
        decision = decide(world.graph, world.run, seen, before, world.now)
        self._check_order(decision, seen, before)
        self._carry_out(decision, lose_status=False)
        if fresh:
            self._check_fixpoint()

    @rule()
    def look_and_be_killed(self) -> None:
        """The operator is killed after it did what was due and before it wrote that down."""
        world = self.world
        decision = decide(world.graph, world.run, world.observed(), world.status, world.now)
        self.lost = True
        self._carry_out(decision, lose_status=True)

    def _carry_out(self, decision: Decision, *, lose_status: bool) -> None:
        for request in decision.create:
            rivals = [j for j in self.world.jobs.values() if j.request.job == request.job]
            assert not any(j.alive or j.open_pods for j in rivals)
            assert self.lost or (request.job, request.attempt) not in self.world.created
        assert self.final is None or not decision.create
        assert decision.status.phase not in FINAL or decision.wake_at is None
        self.world.carry_out(decision, lose_status=lose_status)

    def _check_order(self, decision: Decision, seen: Observed, before: RunStatus) -> None:
        turned = replace(seen, jobs=seen.jobs[::-1])
        assert decide(self.world.graph, self.world.run, turned, before, self.world.now) == decision

    def _check_fixpoint(self) -> None:
        decision = self.world.step()
        assert (decision.create, decision.delete, decision.events) == ((), (), ())

    @rule()
    def lag(self) -> None:
        """The operator's watches fall behind."""
        self.world.lag()

    @rule()
    def catch_up(self) -> None:
        """They catch up."""
        self.world.catch_up()

    @rule()
    def restart(self) -> None:
        """Another operator takes over."""
        self.world.restart()

    @event(seconds=st.sampled_from(JUMPS))
    def time_passes(self, seconds: int) -> None:
        """Time passes."""
        self.world.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.world.created and not self.world.lagging)
    @rule()
    def store_is_away(self) -> None:
        """The operator looks at the run while the store does not answer."""
        world = self.world
        if not world.done:
            away = Problem("StoreUnavailable", "no answer")
            decision = hindered(world.run, away, world.status, world.now)
            assert (decision.create, decision.delete) == ((), ())
            assert decision.status.jobs == world.status.jobs
            world.carry_out(decision)

    # The cluster.

    @event(data=st.data())
    def pods_start(self, data: st.DataObject) -> None:
        """All pods of a Job run."""
        if name := self._pick(data, alive=True):
            self.world.start(name)

    @event(data=st.data(), reason=st.sampled_from(WAITING))
    def pods_wait(self, data: st.DataObject, reason: str) -> None:
        """The pods of a Job that has none cannot start."""
        name = self._pick(data, alive=True)
        if name and not self.world.jobs[name].seen.pods:
            self.world.wait(name, reason)

    @event(data=st.data())
    def job_succeeds(self, data: st.DataObject) -> None:
        """All pods of a Job publish and end."""
        if name := self._pick(data, alive=True):
            self.world.succeed(name)

    @rule(turns=st.integers(1, 8))
    def all_goes_well(self, turns: int) -> None:
        """For a while all Jobs publish and end, and the operator looks."""
        for _ in range(turns):
            for name in sorted(name for name, job in self.world.jobs.items() if job.alive):
                self.world.succeed(name)
            self.look()
            self.world.now += timedelta(seconds=6)

    @event(data=st.data())
    def one_pod_succeeds(self, data: st.DataObject) -> None:
        """One pod of a Job publishes its shard and ends."""
        if name := self._pick(data, alive=True):
            self.world.start(name)
            self.world.end_pod(name, self.world.jobs[name].open_pods[0].index, phase="Succeeded")

    @event(
        data=st.data(),
        exit_code=st.sampled_from([1, 2, 75, 134, 137, 139, 143, None]),
        reason=st.sampled_from(REASONS),
        words=st.sampled_from([None, "retry", "stopped"]),
        done=st.integers(0, 3),
    )
    def pod_fails(
        self,
        data: st.DataObject,
        exit_code: int | None,
        reason: str,
        words: str | None,
        done: int,
    ) -> None:
        """A pod fails, some stages of its task published; Kubernetes ends the others."""
        if name := self._pick(data, alive=True):
            job = self.world.jobs[name]
            if job.seen.shards == 1 and done < len(job.request.task.stages):
                self.world.publish(job.request.task.stages[:done])
            said = builders.words(words, "Told", "m" * 3000) if words else None
            self.world.fail(name, exit_code=exit_code, container_reason=reason, result=said)

    @precondition(lambda self: len(self.world.created) > 3)
    @event(data=st.data())
    def user_fails(self, data: st.DataObject) -> None:
        """A worker refuses its input."""
        if name := self._pick(data, alive=True):
            self.world.fail(name, exit_code=64, result=builders.words("user", "Bad", "line 3"))

    @event(data=st.data())
    def disrupt(self, data: st.DataObject) -> None:
        """A pod is preempted."""
        if name := self._pick(data, alive=True):
            self.world.fail(name, exit_code=137, disrupted=True)

    @event(data=st.data())
    def pods_of_nobody_end(self, data: st.DataObject) -> None:
        """A Job completes whose pods published nothing."""
        if name := self._pick(data, alive=True):
            shards = range(self.world.jobs[name].seen.shards)
            self.world.change(name, pods=tuple(builders.pod("Succeeded", i) for i in shards))

    @event(data=st.data())
    def condition_arrives(self, data: st.DataObject) -> None:
        """The Job controller says at last how a Job ended."""
        if name := self._pick(data, alive=False):
            failed = any(pod.phase == "Failed" for pod in self.world.jobs[name].seen.pods)
            self.world.change(name, ended="Failed" if failed else "Complete", reason="Word")

    @event(data=st.data())
    def job_is_cleaned_up(self, data: st.DataObject) -> None:
        """A Job that ended is deleted after its time to live."""
        if name := self._pick(data, alive=False):
            self.world.vanish(name)

    @event()
    def deletions_come_true(self) -> None:
        """Jobs that are being deleted are gone."""
        for name in [name for name, job in self.world.jobs.items() if job.seen.stopping]:
            self.world.vanish(name)

    # People.

    @event(data=st.data(), at_once=st.booleans())
    def somebody_deletes_a_job(self, data: st.DataObject, *, at_once: bool) -> None:
        """Somebody deletes a Job that works."""
        if name := self._pick(data, alive=True):
            if at_once:
                self.world.vanish(name)
            else:
                self.world.change(name, stopping=True)

    @event(suspend=st.sampled_from([True, False, False, False]))
    def suspend(self, *, suspend: bool) -> None:
        """Somebody suspends the run, or lets it go on."""
        self.world.edit(suspend=suspend)

    @precondition(lambda self: len(self.world.created) > 5)
    @event()
    def cancel(self) -> None:
        """Somebody cancels the run."""
        self.world.edit(cancel=True)

    @event(there=st.sampled_from([False, True, True, True]))
    def profile(self, *, there: bool) -> None:
        """A ComputeProfile vanishes or appears."""
        self.world.problem = None if there else PROBLEM

    # What always holds.

    @invariant()
    def one_live_job(self) -> None:
        """No job of the graph has two Jobs at work."""
        live = [job.request.job for job in self.world.jobs.values() if job.alive]
        assert len(live) == len(set(live))

    @invariant()
    def books_are_sound(self) -> None:
        """Attempts only grow, failures are bounded, and the status is small."""
        for entry in self.world.status.jobs:
            assert entry.counted <= entry.attempt
            assert entry.failures <= self.backoff_limit + 1
            if self.world.enlargeable:
                assert entry.out_of_memory <= 2
            assert entry.attempt >= self.attempts.get(entry.name, 0)
            self.attempts[entry.name] = entry.attempt
        assert len(canonical_json(self.world.status.dump())) <= 32768

    @invariant()
    def final_is_final(self) -> None:
        """A run that ended stays as it is; one that succeeded has published everything."""
        world = self.world
        if self.final:
            same = {"observed_generation": world.status.observed_generation}
            assert world.status == self.final.model_copy(update=same)
        elif world.done:
            self.final = world.status
            if world.status.phase == "Succeeded":
                without = skipped(world.graph, tripped(world.graph, world.known))
                names = {stage.name for stage in world.graph.stages}
                assert names - without <= world.known.keys()

    def teardown(self) -> None:
        """From wherever it is, the run ends if from now on all goes well."""
        if not hasattr(self, "world"):
            return
        self.world.problem = None
        self.world.catch_up()
        self.world.edit(suspend=False)
        self.world.play()
        self.final_is_final()


class TestFewRuns(RunMachine.TestCase):  # type: ignore[name-defined,misc]
    """The machine as a test that is over in seconds."""

    settings = settings(settings.get_profile("planning"), max_examples=20)


@pytest.mark.thorough
class TestManyRuns(RunMachine.TestCase):  # type: ignore[name-defined,misc]
    """The machine as a test that looks longer."""

    settings = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "planning"))
