"""Which checkpoint of a DPO is kept: by battles with the best one before it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autodidact_contract.base import Lora
from autodidact_contract.records import SeedPrompt
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.training import Selection
from autodidact_store import open_store
from autodidact_worker.intake import model_files
from autodidact_worker.judging import contests
from autodidact_worker.judging.contests import Meeting, Verdict
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context, InputArtifact, Output
from autodidact_worker.stages import train_dpo
from autodidact_worker.training import distributed
from autodidact_worker.training.trainers.battles import Battles, Choice
from support import chain
from support.completion_servers import said, scripted
from support.training_rows import PAIRS, digest

IMPROVING = [(3, 1), (2, 1), (2, 0), (1, 0)]
FLAT = [(1, 1), (0, 0), (2, 2), (1, 1)]
WORSENING = [(1, 2), (0, 3), (0, 4), (1, 3)]
NOISY = [(2, 1), (1, 2), (3, 1), (0, 2)]
PROMPTS = 4
Scores = Sequence[tuple[int, int]]
"""Wins and losses of each check."""


@pytest.mark.parametrize(
    ("scores", "patience", "best", "checks"),
    [
        (IMPROVING, 1, 8, 4),
        (FLAT, 1, 0, 1),
        (FLAT, 3, 0, 3),
        (WORSENING, 2, 0, 2),
        (NOISY, 1, 2, 2),
        (NOISY, 2, 6, 4),
        (NOISY, 9, 6, 4),
    ],
)
def test_the_last_checkpoint_that_was_better_is_the_best(
    scores: Scores, patience: int, best: int, checks: int
) -> None:
    """It ends after so many in a row that do not win more than they lose; a draw is not enough."""
    choice = Choice(patience)
    for step, (wins, losses) in enumerate(scores, 1):
        choice.checks.append(Battles(step=2 * step, wins=wins, ties=0, losses=losses))
        if choice.enough:
            break
    assert (choice.best, len(choice.checks)) == (best, checks)


class Script:
    """A judge that says what it is told, and remembers what it saw.

    Attributes:
        scores: Of the checks that are left.
        seen: The meetings of each check.
    """

    orders = 2

    def __init__(self, scores: Scores) -> None:
        self.scores = list(scores)
        self.seen: list[list[Meeting]] = []

    def compare(
        self, meetings: Sequence[Meeting], _: Any, stopping: Callable[[], bool]
    ) -> list[tuple[Verdict, ...]]:
        """Lets the first ones be won, the next ones be lost, and the rest be ties."""
        if stopping():
            raise StoppedError
        self.seen.append(list(meetings))
        wins, losses = self.scores.pop(0)
        ties = len(meetings) - wins - losses
        return [("win", "win")] * wins + [("loss", "loss")] * losses + [("tie", "invalid")] * ties


@pytest.fixture
def run(
    tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, Output, Script]]:
    """Trains eight steps with checks every second one; returns folder, output and judge.

    Without scores the judge is a model.
    """

    def call(
        scores: Scores | None, patience: int = 9, every_steps: int = 2, **fields: Any
    ) -> tuple[Path, Output, Script]:
        place = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        for name in ("pairs", "validation", "out", "scratch"):
            (place / name).mkdir(parents=True)
        rows.write(place / "pairs" / "pairs-00000.jsonl", PAIRS)
        contest = fields.pop("contest", {})
        # The built-in task's form, so that its oracle can decide.
        prompts = [SeedPrompt(prompt=f"A{letter * 5}:") for letter in "abcdef"[: PROMPTS + 2]]
        rows.write(place / "validation" / rows.DATA, prompts)
        judge = Script(scores or [])
        if scores is not None:
            monkeypatch.setattr(contests, "open_judge", lambda *_: judge)
        where = {k: fields.pop(k) for k in ("store", "stopping", "progress") if k in fields}
        settings = {"epochs": 2, "batch_size": 3, "learning_rate": 1e-2, **fields}
        if patience:
            settings["selection"] = selection(every_steps, patience, **contest)
        inputs = {"model": llama, "pairs": place / "pairs", "validation": place / "validation"}
        inputs |= {"referee": llama} if scores is None and not contest else {}
        context = Context(
            config=chain.dpo_config(**settings),
            inputs={name: InputArtifact(path=path) for name, path in inputs.items()},
            out=place / "out",
            scratch=place / "scratch",
            namespace="team",
            key="0a1b",
            **where,
        )
        return place / "out", train_dpo.run(context), judge

    return call


def selection(every_steps: int, patience: int, **changes: Any) -> Selection:
    """A choice on four short replies; changes are the contest's."""
    sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=6)
    contest: dict[str, Any] = {
        "rubric": "additive-v1",
        "judge": "model",
        "judge_sampling": sampling,
        "reply_sampling": sampling,
        "prompts": PROMPTS,
    }
    return Selection(every_steps=every_steps, patience=patience, contest=contest | changes)


def equal(first: Path, second: Path) -> bool:
    """Whether two written models have the same weights."""
    one, other = (load_file(path / "model.safetensors") for path in (first, second))
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def curve(out: Path) -> list[dict[str, float]]:
    """The lines of the training that are checks."""
    lines = [json.loads(line) for line in (out / model_files.CURVE).read_text().splitlines()]
    return [line for line in lines if "wins" in line]


def test_a_model_that_improves_is_trained_to_the_end(run: Any) -> None:
    """Each checkpoint is better: the result is the last model, as without any choice."""
    out, output, judge = run(IMPROVING)
    assert (output.counts["keptStep"], output.counts["checks"]) == (8, 4)
    assert output.counts["steps"] == 8
    assert curve(out) == [
        {"step": 2 * n, "wins": wins, "ties": PROMPTS - wins - losses, "losses": losses}
        for n, (wins, losses) in enumerate(IMPROVING, 1)
    ]
    assert equal(out, run([], patience=0)[0])
    # Each met the one before, by that one's own replies.
    assert [len(seen) for seen in judge.seen] == [PROMPTS] * 4
    for before, after in zip(judge.seen, judge.seen[1:], strict=False):
        assert [m.ours for m in before] == [m.theirs for m in after]
    assert any(meeting.ours != meeting.theirs for meeting in judge.seen[0])


@pytest.mark.parametrize("scores", [FLAT, WORSENING])
@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_a_model_that_does_not_improve_stays_as_it_was(
    run: Any, llama: Path, scores: Scores, lora: Lora | None
) -> None:
    """Training ends when patience does, and the result is the model it started from."""
    out, output, judge = run(scores, patience=2, lora=lora)
    assert (output.counts["keptStep"], output.counts["checks"]) == (0, 2)
    assert output.counts["steps"] == 4
    assert equal(out, llama)
    assert len({tuple(m.theirs for m in seen) for seen in judge.seen}) == 1


def test_of_a_noisy_training_the_best_is_kept(run: Any) -> None:
    """Better, worse, better, worse: the third check's model, as a shorter training makes it."""
    out, output, judge = run(NOISY, patience=2)
    assert (output.counts["keptStep"], output.counts["steps"]) == (6, 8)
    assert output.counts["invalid-verdicts"] == 1 + 1 + 0 + 2
    assert [m.theirs for m in judge.seen[2]] == [m.ours for m in judge.seen[0]]
    # Without patience it would have ended after step 4, with the model of step 2.
    short, output, _ = run(NOISY, patience=1)
    assert (output.counts["keptStep"], output.counts["steps"]) == (2, 4)
    assert not equal(out, short)


def test_the_end_is_a_check_of_its_own(run: Any) -> None:
    """Eight steps, checks every third one: after three, six and eight."""
    out, output, _ = run([(1, 0), (0, 1), (1, 0)], every_steps=3)
    assert [line["step"] for line in curve(out)] == [3, 6, 8]
    assert output.counts["keptStep"] == 8


@pytest.mark.thorough
@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
@pytest.mark.parametrize("stop", [3, 4])
def test_a_choice_survives_an_interruption(
    run: Any, tmp_path: Path, lora: Lora | None, stop: int
) -> None:
    """Stopped before a step, or before the check after one: the same bytes as undisturbed."""
    settings: dict[str, Any] = {"patience": 2, "lora": lora}
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    undisturbed = run(NOISY, **settings)
    steps: list[int] = []
    with pytest.raises(StoppedError):
        run(
            NOISY,
            store=store,
            progress=lambda step, *_, **__: steps.append(step),
            stopping=lambda: len(steps) >= stop,
            **settings,
        )
    done = (max(steps) - 1) // 2  # the check after the last step was not begun
    assert done < len(NOISY)
    again = run(NOISY[done:], store=store, **settings)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]
    assert again[2].seen == undisturbed[2].seen[done:]


@pytest.mark.parametrize("check", [0, 2, 3])
def test_a_slow_judge_holds_no_trainer(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: int
) -> None:
    """Asked to stop while the judge is asked: it saves at once, and asks again when it resumes.

    Of the last check too, after which there is no step.
    """
    undisturbed = run(NOISY)
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    signals: list[str] = []
    real = Script.compare

    def slow(self: Script, *given: Any) -> Any:
        signals.extend(["SIGTERM"] * (len(self.seen) == check))
        return real(self, *given)

    monkeypatch.setattr(Script, "compare", slow)
    with pytest.raises(StoppedError, match=rf"after step {2 * check + 2} of 8; .* is saved"):
        run(NOISY, store=store, stopping=lambda: bool(signals))
    monkeypatch.setattr(Script, "compare", real)
    again = run(NOISY[check:], store=store)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]
    assert again[2].seen == undisturbed[2].seen[check:]


@pytest.mark.thorough
def test_all_ranks_give_up_a_check_together(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another rank was asked to stop, ours does not wait for its verdicts."""
    monkeypatch.setattr(distributed, "agreed", lambda *_, **__: (True, False))
    with pytest.raises(StoppedError):
        run(NOISY)


@pytest.mark.thorough
def test_a_choice_survives_a_kill(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in step 5, after the checkpoint of step 4 and its check: the same bytes."""
    undisturbed = run(NOISY)
    (tmp_path / "store").mkdir()
    store = open_store(str(tmp_path / "store"))
    monkeypatch.setenv("AUTODIDACT_CHECKPOINT_SECONDS", "0")

    def progress(step: int, *_: Any, **__: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(NOISY, store=store, progress=progress)
    again = run(NOISY[2:], store=store)
    assert digest(again[0]) == digest(undisturbed[0])
    assert again[1] == undisturbed[1]


def test_a_model_can_be_the_judge(run: Any, llama: Path) -> None:
    """One that says nothing readable, in both orders, of replies that differ: nobody wins."""
    out, output, _ = run(None, every_steps=100)
    assert (output.counts["keptStep"], output.counts["checks"]) == (0, 1)
    assert output.counts["invalid-verdicts"] in {2, 4, 6, 8}
    assert equal(out, llama)


@pytest.mark.parametrize("judge", ["server", "oracle"])
def test_who_is_no_model_can_be_the_judge(run: Any, judge: str) -> None:
    """A server that finds whatever it is shown first the better one decides nothing; both count."""
    with scripted("judge-1") as served:
        served.reply = lambda _: said("Verdict: A")
        kinds: dict[str, dict[str, Any]] = {
            "server": {"judge": judge, "server": {"url": served.url, "model": "judge-1"}},
            "oracle": {"judge": judge, "rubric": "toy-copy-v1"},
        }
        out, output, _ = run(None, every_steps=100, contest=kinds[judge])
    [line] = curve(out)
    assert line["wins"] + line["ties"] + line["losses"] == PROMPTS
    assert output.counts["keptStep"] == (8 if line["wins"] > line["losses"] else 0)
    assert output.counts["invalid-verdicts"] == 0
    assert bool(served.asked) == (judge == "server")
    assert judge == "oracle" or line["ties"] == PROMPTS
