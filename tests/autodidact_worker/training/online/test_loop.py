"""PPO as a stage: what it learns from, what it keeps, how it ends, and that a kill changes nothing."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autodidact_contract.records import Problem
from autodidact_contract.stages.answers import Reward
from autodidact_contract.stages.base import Sampling
from autodidact_store import open_store
from autodidact_worker.intake import model_files
from autodidact_worker.models import loading
from autodidact_worker.runtime.checkpoints import Checkpoints
from autodidact_worker.runtime.errors import StoppedError, UserError
from autodidact_worker.runtime.frame import Output
from autodidact_worker.stages import train_ppo
from autodidact_worker.training import validation
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.engines import Engine
from autodidact_worker.training.online import loop, ppo, saved
from autodidact_worker.training.validation import Accuracy, Measurements
from support import online_stages
from support.online_stages import Stop
from support.tiny import write_gpt2

pytestmark = pytest.mark.training

Run = Callable[..., tuple[Path, Output]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model that is right now and then."""
    return online_stages.write_model(tmp_path_factory.mktemp("six"))


@pytest.fixture
def run(tmp_path: Path, model: Path) -> Run:
    """Runs the stage and returns its folder and its output."""
    places: Iterator[int] = iter(range(1000))

    def call(
        problems: Sequence[Problem] = online_stages.PROBLEMS, model: Path = model, **fields: Any
    ) -> tuple[Path, Output]:
        place = tmp_path / f"run-{next(places)}"
        inputs = {"model": model, **online_stages.write_inputs(place, problems)}
        more = {k: fields.pop(k) for k in ("store", "stopping", "progress") if k in fields}
        output = online_stages.run(online_stages.ppo_config(**fields), inputs, place, **more)
        return place / "out", output

    return call


def curve(out: Path) -> list[dict[str, float]]:
    """The lines of rollouts."""
    lines = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def test_a_training_writes_a_model_and_its_curve(run: Run, model: Path) -> None:
    """Twelve steps in three rollouts; a line each; the result is a model without a value head."""
    out, output = run()
    assert {**output.counts, "tokens": 0} == {
        "rows": 12,
        "rollouts": 3,
        "steps": 12,
        "answers": 24,
        "tokens": 0,
        "trainableParameters": output.counts["trainableParameters"],
        "keptStep": 3,
        "sandbox-missing": 0,
        **{k: v for k, v in output.counts.items() if k.startswith("read-")},
    }
    assert sum(v for k, v in output.counts.items() if k.startswith("read-")) == 24
    model_files.check(out)
    names = {path.name for path in model.iterdir()}
    assert {path.name for path in out.iterdir()} == names | {model_files.CURVE}
    before, after = (load_file(path / "model.safetensors") for path in (model, out))
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert all(after[name].dtype == before[name].dtype for name in before)
    lines = curve(out)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line["learningRate"] for line in lines] == pytest.approx(
        [3e-3 - 2.7e-3 * step / 11 for step in (3, 7, 11)]
    )
    assert output.metrics["lastKl"].value == lines[-1]["kl"]


def test_the_first_pass_has_ratio_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, for every action, and nothing is clipped: nothing is dropped and nothing is moved."""
    seen: list[bool] = []
    original = ppo.ratios

    def ratios(log_probs: Any, old: Any, mask: Any) -> Any:
        found = original(log_probs, old, mask)
        seen.append(bool((found == 1).all()))
        return found

    monkeypatch.setattr(ppo, "ratios", ratios)
    out, _ = run(mini_batch_size=None, epochs=1, passes=1, beta=0.1)
    assert len(seen) == 2 * 4 * 2  # rollouts, passes of two answers, loss and figure
    assert all(seen)
    assert [(line["ratio"], line["clipFraction"]) for line in curve(out)] == [(1, 0), (1, 0)]
    seen.clear()
    run(mini_batch_size=None, epochs=0.5)
    assert seen == [True] * 8 + [False] * 8  # of the second pass no longer


def test_the_reference_is_frozen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are the start's, bit by bit, after the training; so the first KL is 0."""
    made: list[Any] = []
    original = train_ppo.engines.frozen

    def frozen(network: Any, *rest: Any) -> Any:
        made.append((network, {n: p.clone() for n, p in network.named_parameters()}))
        return original(network, *rest)

    monkeypatch.setattr(train_ppo.engines, "frozen", frozen)
    out, _ = run()
    network, before = made[0]
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
    assert curve(out)[0]["kl"] == 0
    assert curve(out)[1]["kl"] != 0


def test_accumulation_changes_nothing_but_rounding(run: Run) -> None:
    """Passes of one, two or four answers make the same steps."""
    curves = [curve(run(micro_batch_size=micro)[0]) for micro in (1, 2, 4)]
    for other in curves[1:]:
        for line, wanted in zip(other, curves[0], strict=True):
            assert line == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_loss_is_a_mean_over_answers(run: Run) -> None:
    """Of the first step, from its parts; the value loss has its coefficient."""
    out, _ = run(epochs=0.5, passes=1, mini_batch_size=None, value_coefficient=3.0)
    line = curve(out)[0]
    assert line["loss"] == pytest.approx(line["policyLoss"] + 3 * line["valueLoss"], rel=1e-5)


def test_value_warm_up_teaches_the_head_alone(run: Run, model: Path) -> None:
    """One rollout leaves every weight of the policy as it was, bit by bit; the next does not."""
    before = load_file(model / "model.safetensors")
    for epochs, same in ((0.5, True), (1.5, False)):
        out, _ = run(value_warmup_steps=1, epochs=epochs)
        after = load_file(out / "model.safetensors")
        assert all(torch.equal(before[name], after[name]) == same for name in before)


def test_the_first_step_after_a_warm_up_is_a_first_step(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's first step is as long as the rate for every weight that has a gradient.

    With the steps of the warm-up counted it would be 0.545 times as long after four of them, for
    0.1 / (1 - 0.9^5) / sqrt(0.001 / (1 - 0.999^5)) is that.
    """
    longest: list[float] = []
    original = Engine.step

    def step(self: Engine, rates: Any) -> float:
        before = [p.detach().clone() for p in self.network.model.parameters()]
        norm = original(self, rates)
        after = self.network.model.parameters()
        moved = (float((a - b).detach().abs().max()) for a, b in zip(after, before, strict=True))
        longest.append(max(moved))
        return norm

    monkeypatch.setattr(Engine, "step", step)
    rate = {"learning_rate": 1e-3, "schedule": "constant", "weight_decay": 0.0}
    run(value_warmup_steps=1, epochs=1.5, **rate)
    assert longest[:4] == [0.0] * 4
    assert longest[4] == pytest.approx(1e-3, rel=1e-3)


def test_a_separate_value_network_leaves_the_policy_alone(run: Run) -> None:
    """With values that cost nothing in the policy's gradient, another value loss moves nothing."""
    settings = {"value_network": "separate", "epochs": 0.5, "passes": 1, "max_grad_norm": 1e9}
    weights = [
        load_file(run(value_coefficient=c, **settings)[0] / "model.safetensors") for c in (1, 9)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_lora_trains_adapters_and_merges_them(run: Run, model: Path) -> None:
    """The start without adapters is the reference; the result is a plain model that moved."""
    out, output = run(lora=online_stages.LORA)
    assert curve(out)[0]["kl"] == 0
    before, after = (load_file(path / "model.safetensors") for path in (model, out))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "_proj" in name}
    assert output.counts["trainableParameters"] < sum(w.numel() for w in before.values())


def test_the_same_seed_makes_the_same_bytes(run: Run) -> None:
    """And another seed other ones."""
    digests = [online_stages.digest(run(seed=seed, epochs=1)[0]) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the worker can catch it."""


def scripted(monkeypatch: pytest.MonkeyPatch, *values: int) -> None:
    """Makes the measurements have these numbers of right answers of six, by rollouts done."""
    done = [0]
    original = loop.Loop._measure

    def noted(self: loop.Loop, examiner: Any) -> bool:
        done[0] = self.rollouts
        return original(self, examiner)

    def measure(*_: Any) -> Accuracy:
        return Accuracy(correct=values[done[0]], asked=6, cut=0)

    monkeypatch.setattr(loop.Loop, "_measure", noted)
    monkeypatch.setattr(validation, "measure", measure)


@pytest.mark.parametrize(
    "settings",
    [{}, {"value_network": "separate", "value_warmup_steps": 1}, {"lora": online_stages.LORA}],
)
def test_a_kill_at_any_step_changes_no_bit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Killed after each of the optimiser steps and resumed, the artifact is the undisturbed one.

    The best model is that of the second rollout; it survives the kills as well.
    """
    scripted(monkeypatch, 1, 2, 5, 3)
    monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    fields = {"validation": {"every_epochs": 0.1, "keep": "best"}, "epochs": 2, **settings}
    undisturbed = run(**fields)
    assert undisturbed[1].counts["keptStep"] == 2
    steps = undisturbed[1].counts["steps"]
    assert steps == 12
    for last in range(1, steps + 1) if not settings else (1, 5, 6, 12):
        folder = tmp_path / f"store-{last}"
        folder.mkdir()
        store = open_store(str(folder))

        def progress(step: int, *_: int, last: int = last, **__: float) -> None:
            if step == last:
                raise _Killed

        with pytest.raises(_Killed):
            run(store=store, progress=progress, **fields)
        seen: list[int] = []
        again = run(store=store, progress=lambda step, *_, s=seen, **__: s.append(step), **fields)
        assert seen[0] == (last - 1) // 4 * 4 + 1  # a rollout has four steps
        assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])
        assert again[1] == undisturbed[1]


def test_a_stopped_training_goes_on(run: Run, tmp_path: Path) -> None:
    """Asked to stop, it ends its rollout and saves; the next attempt ends with the same bytes."""
    undisturbed = run()
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    stop = Stop()
    with pytest.raises(StoppedError, match="after rollout 1 of 3; what was learned is saved"):
        run(store=store, stopping=stop.asked, progress=stop.progress)
    again = run(store=store)
    assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])
    assert again[1] == undisturbed[1]


def test_stopping_without_a_store_says_so(run: Run) -> None:
    """Run by hand there is nowhere to save."""
    stop = Stop()
    with pytest.raises(StoppedError, match="lost, for there is no store"):
        run(stopping=stop.asked, progress=stop.progress)


def test_a_stop_is_seen_before_anything_is_learned(run: Run, tmp_path: Path) -> None:
    """The first look is in the first measurement; there is nothing to save."""
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(StoppedError, match="after rollout 0 of 3"):
        run(store=store, stopping=lambda: True, progress=lambda *_, **__: pytest.fail("learned"))
    assert not list(store.entries("team/checkpoints/"))


def test_a_stop_at_any_look_changes_no_bit(run: Run, tmp_path: Path) -> None:
    """While it samples and while it measures too: what was learned is saved at once.

    From the first step on it looks at the end of a rollout, before and after it samples, in the
    second measurement, at the end, before and after it samples, and in the last measurement.
    """
    fields = {"validation": {"every_epochs": 1.0, "keep": "best"}}
    undisturbed = run(**fields)
    for look, rollout in ((2, 1), (3, 1), (4, 2), (8, 3)):
        folder = tmp_path / f"store-{look}"
        folder.mkdir()
        store, stop = open_store(str(folder)), Stop(look)
        with pytest.raises(StoppedError, match=f"after rollout {rollout} of 3; .* is saved"):
            run(store=store, stopping=stop.asked, progress=stop.progress, **fields)
        again = run(store=store, **fields)
        assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])
        assert again[1] == undisturbed[1]


def test_a_measurement_that_a_stop_prevented_is_made_up_for(run: Run, tmp_path: Path) -> None:
    """Resumed where one is due, it measures before it goes on; the curve has each once."""
    (tmp_path / "store").mkdir()
    store, stop = open_store(str(tmp_path / "store")), Stop(4)
    with pytest.raises(StoppedError, match="after rollout 2 of 3"):
        run(store=store, stopping=stop.asked, progress=stop.progress)
    out, _ = run(store=store)
    lines = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    assert [line["step"] for line in lines if "accuracy" in line] == [0, 2, 3]


def test_the_split_of_time_survives_a_stop(run: Run, tmp_path: Path) -> None:
    """Each phase has the seconds of all attempts, in the output and so in the manifest."""
    (tmp_path / "store").mkdir()
    store, stop = open_store(str(tmp_path / "store")), Stop()
    with pytest.raises(StoppedError):
        run(store=store, stopping=stop.asked, progress=stop.progress)
    told: list[dict[str, float]] = []
    _, output = run(store=store, progress=lambda *_, **found: told.append(found))
    assert set(output.seconds) == {"sampling", "reward", "learning", "validation"}
    kept = told[0]  # within the first learning of this attempt
    assert 0 < kept["learningSeconds"] < output.seconds["learning"]


def test_half_a_checkpoint_is_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it uploads the second one, it goes on from the first."""
    undisturbed = run()
    monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    original = Checkpoints.mark

    def mark(self: Checkpoints, step: int, parts: Any) -> None:
        if step == 2:
            raise _Killed
        original(self, step, parts)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "mark", mark)
        with pytest.raises(_Killed):
            run(store=store)
    keys = [entry.key for entry in store.entries("team/checkpoints/")]
    assert any("/000000002/model.safetensors" in key for key in keys)
    seen: list[int] = []
    again = run(store=store, progress=lambda step, *_, **__: seen.append(step))
    assert seen[0] == 5
    assert online_stages.digest(again[0]) == online_stages.digest(undisturbed[0])


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        (("none", 2), ("none", 1), False),
        (("zero2", 2), ("zero2", 2), False),
        (("zero2", 2), ("zero2", 1), True),
        (("zero3", 2), ("zero2", 2), True),
        (("none", 1), ("zero2", 1), True),
    ],
)
def test_a_checkpoint_of_other_processes(
    before: tuple[str, int], now: tuple[str, int], refused: bool
) -> None:
    """Plain ones fit any number of processes; DeepSpeed's only as many as wrote them."""
    states = [saved.State(engine=engine, world=world) for engine, world in (before, now)]
    place = Checkpoints(store=None, prefix="team/checkpoints/train-ppo-0a1b/")
    if not refused:
        saved.check_world(*states, place)
        return
    with pytest.raises(UserError, match="delete team/checkpoints/train-ppo-0a1b/") as caught:
        saved.check_world(*states, place)
    assert caught.value.reason == "WrongWorldSize"


def test_the_best_model_is_the_result(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equals the earlier; with keep: last it is the last one, and its accuracy is reported."""
    often = {"every_epochs": 0.1}
    scripted(monkeypatch, 1, 4, 4, 2)
    best, output = run(validation={**often, "keep": "best"})
    assert output.counts["keptStep"] == 1
    assert output.metrics["accuracy"].value == pytest.approx(4 / 6)
    last, output = run(validation={**often, "keep": "last"})
    assert output.counts["keptStep"] == 3
    assert output.metrics["accuracy"].value == pytest.approx(2 / 6)
    scripted(monkeypatch, 1, 5, 4, 2)
    until, output = run(validation={**often, "keep": "last", "until": 0.8})
    assert output.counts["rollouts"] == 1
    assert (until / "model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()
    assert (last / "model.safetensors").read_bytes() != (best / "model.safetensors").read_bytes()


def test_nothing_is_learned_that_is_known(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good enough before the first step, the model goes out as it came."""
    scripted(monkeypatch, 6)
    out, output = run(validation={"until": 1.0, "keep": "best"})
    assert output.counts["rollouts"] == 0
    assert (out / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_a_large_kl_ends_the_training(run: Run) -> None:
    """The rollout after which it is too large is the last; there is a result, and it says why."""
    kls = [line["kl"] for line in curve(run(epochs=4)[0])]
    largest = max(kls)
    limit = sorted(kls)[-2]
    out, output = run(epochs=4, max_kl=limit)
    assert output.counts["rollouts"] == kls.index(largest) + 1 < len(kls)
    assert output.metrics["lastKl"].value == largest > limit
    model_files.check(out)


def test_no_reward_ends_the_run(run: Run) -> None:
    """After an epoch in which nothing was worth anything; the sentence says what to do."""
    impossible = [problem.model_copy(update={"answer": "7"}) for problem in online_stages.PROBLEMS]
    nothing = Reward(partial=0.0, partial_when="numeric")
    with pytest.raises(UserError, match="none of the 16 answers of the first 2 rollouts") as caught:
        run(problems=impossible, reward=nothing)
    assert caught.value.reason == "NoReward"


def test_cut_answers_end_the_run(run: Run) -> None:
    """All of them, though they may be read and rewarded."""
    with pytest.raises(
        UserError, match="all 16 answers of the first 2 rollouts were cut"
    ) as caught:
        run(sampling=Sampling(temperature=0.02, top_p=1, max_new_tokens=1))
    assert caught.value.reason == "AllAnswersCut"


def test_a_loss_that_is_no_number_ends_the_run(run: Run) -> None:
    """The sentence has step, rate and remedy."""
    with pytest.raises(UserError, match=r"at step \d+ of 12 .* lower learningRate") as caught:
        run(learning_rate=1e30, max_grad_norm=1e30, final_learning_rate=1e29)
    assert caught.value.reason == "NaNLoss"


def test_no_step_is_taken_on_a_gradient_that_is_no_number(run: Run, monkeypatch: Any) -> None:
    """The weights stay those of the step before."""
    taken: list[dict[str, Any]] = []
    original = Engine.step

    def step(self: Engine, rates: Any) -> float:
        next(self.network.parameters()).grad[0, 0] = float("nan")  # type: ignore[index]
        before = [p.detach().clone() for p in self.network.parameters()]
        norm = original(self, rates)
        after = list(self.network.parameters())
        taken.append({"same": all(map(torch.equal, before, after)), "norm": norm})
        return norm

    monkeypatch.setattr(Engine, "step", step)
    with pytest.raises(UserError, match="gradient norm nan at step 1 of 12"):
        run()
    assert [entry["same"] for entry in taken] == [True]


@pytest.mark.parametrize(
    ("batch", "mini", "micro", "world"),
    [(8, 3, None, 1), (8, 4, 3, 1), (8, 4, 4, 2), (8, None, None, 3), (2, 1, None, 2)],
)
def test_batches_that_do_not_divide_are_refused(
    batch: int, mini: int | None, micro: int | None, world: int
) -> None:
    """The sentence has all numbers."""
    config = online_stages.ppo_config(batch_size=batch, micro_batch_size=micro)
    with pytest.raises(UserError, match=f"batchSize {batch} .* {world} processes") as caught:
        loop.plan(config, 12, mini, Layout(world=world, gpu=False))
    assert caught.value.reason == "InvalidBatchSize"


@pytest.mark.parametrize(
    "settings", [{"dropout": 0.1}, {"lora": online_stages.LORA.model_copy(update={"dropout": 0.1})}]
)
def test_dropout_is_refused(run: Run, settings: dict[str, Any], tmp_path: Path) -> None:
    """It would be off anyway; what was asked for is not ignored."""
    gpt2 = write_gpt2(tmp_path / "gpt2")  # which has a place for it
    with pytest.raises(UserError, match="set both to 0") as caught:
        run(model=gpt2, **settings)
    assert caught.value.reason == "DropoutNotApplicable"


def test_the_plan_rounds_epochs_to_rollouts() -> None:
    """Two epochs of twelve questions are three rollouts of eight; there is at least one."""
    config = online_stages.ppo_config(micro_batch_size=None)
    plan = loop.plan(config, 12, 4, Layout(world=2, gpu=False))
    assert (plan.rollouts, plan.steps, plan.step, plan.micro) == (3, 12, 2, 2)
    short = config.model_copy(update={"epochs": 0.01})
    assert loop.plan(short, 12, None, Layout(gpu=False)).rollouts == 1


def test_measurements_are_due_at_epochs() -> None:
    """Before the first step, at each multiple of the interval, and at the end."""
    config = online_stages.ppo_config(validation={"every_epochs": 1.0}).validation
    due = [validation.is_due(config, step, 2.5, last=step == 9) for step in range(10)]
    assert [step for step, yes in enumerate(due) if yes] == [0, 3, 5, 8, 9]


def test_measurements_know_the_best() -> None:
    """The earlier of equals; enough is enough even if an earlier one was better."""
    best = online_stages.ppo_config(validation={"keep": "best", "until": 0.7}).validation
    found = Measurements(best)
    assert found.best is None
    assert [found.add(*pair) for pair in ((0, 0.5), (1, 0.6), (2, 0.6), (3, 0.4))] == [
        *(True, True, False, False)
    ]
    assert found.result == (1, 0.6)
    assert not found.enough
    found.add(4, 0.7)
    assert found.enough
    last = Measurements(best.model_copy(update={"keep": "last"}), [(0, 0.5)])
    assert not last.add(1, 0.4)
    assert last.result == (1, 0.4)


def test_accuracy_is_measured_by_greedy_decoding(model: Path) -> None:
    """By hand for a model that always writes the same, on one process and on two."""
    loaded = loading.load(model)
    config = online_stages.ppo_config(validation={"questions": 8}).validation
    grader: Any = _Recorder()
    found = validation.measure(*loaded, online_stages.PROBLEMS, config, grader, Layout(gpu=False))
    assert len(grader.items) == found.asked == 8
    assert [p.id for p, _ in grader.items] == [p.id for p in online_stages.PROBLEMS[:8]]
    assert found.value == found.correct / 8 == 3 / 8
    again: Any = _Recorder()
    validation.measure(*loaded, online_stages.PROBLEMS, config, again, Layout(gpu=False))
    assert again.items == grader.items


class _Recorder:
    """A grader that likes the first three answers."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def grade(self, items: list[Any]) -> list[Any]:
        from autodidact_worker.answers.grading import Grade  # noqa: PLC0415

        self.items += items
        return [Grade(value="1", reason="ok", correct=i < 3) for i in range(len(items))]
