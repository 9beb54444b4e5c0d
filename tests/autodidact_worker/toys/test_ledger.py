"""The built-in task with programs, and both stages that sample from a model among hostile ones."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import AnswerSample
from autodidact_contract.stages.answers import Answers, Sample
from autodidact_contract.stages.base import Sampling
from autodidact_contract.stages.data import Import, PrepareQuestions
from autodidact_worker.answers import questions
from autodidact_worker.generation import Completion, Generator, Request
from autodidact_worker.intake import model_files
from autodidact_worker.runtime import rows
from autodidact_worker.toys import ledger
from support import hostile, online_stages

RULES = Answers(rules="robust", kind="number", reasoning="program", program_seconds=2)
SPLITS = tuple(ledger.SIZES)
PROBLEMS = [questions.problem(row, RULES) for row in ledger.questions(0, "train")[:60]]
LOOP = "    while True: pass"


def test_a_body_keeps_the_count() -> None:
    """12 + 7 - 20 = -1, with a name for each amount and without."""
    question = "12 gets 7 loses 20"
    assert ledger.answer(question) == -1
    assert ledger.body(question, named=False) == "    x=12\n    x+=7\n    x-=20\n    return x"
    named = "    x=12\n    y=7\n    x+=y\n    y=20\n    x-=y\n    return x"
    assert ledger.body(question, named=True) == named


def test_rows_depend_on_the_seed_and_no_question_is_in_two_splits() -> None:
    """1,300 different questions a seed, half of them with named amounts."""
    every = [row for split in SPLITS for row in ledger.questions(0, split)]
    assert len({row.question for row in every}) == len(every) == 1300
    assert ledger.questions(0, "test") == every[-200:]
    assert ledger.questions(1, "test") != every[-200:]
    named = sum("y=" in row.reasoning for row in every) / len(every)
    assert named == pytest.approx(0.5, abs=0.05)


@pytest.mark.training
def test_the_task_goes_through_import_and_preparation(bench: Any) -> None:
    """Every target, run as a program, returns its answer; prompts and targets are short."""
    model = bench.run(Import(uri="toy://reft-program/model", content="model"))
    given = bench.run(Import(uri="toy://reft-program/train", content="questions"))
    config = PrepareQuestions(split="train", answers=RULES, max_question_tokens=19, max_length=37)
    counts = bench.result(bench.run(config, questions=given, model=model)).counts
    assert (counts["rows"], counts["unproven"], counts["too-long"]) == (1000, 0, 0)


# Among hostile programs.


@dataclass
class Attack:
    """What completions are exchanged for, and what was planted for them to find.

    Attributes:
        folder: Where.
        values: See ``hostile.scene``.
        before: What was planted, as it was.
        texts: Hostile programs, over and over.
    """

    folder: Path
    values: dict[str, Any]
    before: dict[str, Any]
    texts: Iterator[str]

    def check(self) -> None:
        """Holds if nobody heard, saw, changed or killed anything."""
        assert hostile.heard(self.values["listeners"]) == []
        assert hostile.marked(self.values["MARK"], self.folder) == []
        assert hostile.state(self.values["SCRATCH"]) == self.before
        assert self.values["sentinel"].poll() is None


@pytest.fixture
def attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attack]:
    """Of three completions one is the model's own, one hostile, and one the right program."""
    with hostile.scene(tmp_path) as values:
        sources = [hostile.fill(one.source, values) for one in hostile.chosen("quick")]
        random.Random(0).shuffle(sources)
        # A body that ends, and a module after it with another solution().
        texts = [f"    return 0\n{text}" for text in sources]
        for place in range(5, len(texts), 20):  # some in each rollout
            texts[place] = LOOP
        found = Attack(tmp_path, values, hostile.state(values["SCRATCH"]), itertools.cycle(texts))
        _exchange(monkeypatch, found.texts)
        yield found
        found.check()


def _exchange(monkeypatch: pytest.MonkeyPatch, texts: Iterator[str]) -> None:
    targets = {problem.id: problem.target for problem in PROBLEMS}
    places = itertools.count()
    real = Generator.generate

    def exchanged(request: Request, completion: Completion) -> Completion:
        kind = next(places) % 3
        said = [completion.text, next(texts) if kind == 1 else "", targets[request.id]][kind]
        return replace(completion, text=said)

    def generate(
        self: Generator, requests: Sequence[Request], *rest: Any, **more: Any
    ) -> list[list[Completion]]:
        made = real(self, requests, *rest, **more)
        return [
            [exchanged(request, one) for one in completions]
            for request, completions in zip(requests, made, strict=True)
        ]

    monkeypatch.setattr(Generator, "generate", generate)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """The untrained model and sixty questions."""
    ledger.write_model(tmp_path / "model", 0)
    return {"model": tmp_path / "model", **online_stages.write_inputs(tmp_path, PROBLEMS)}


@pytest.mark.thorough
@pytest.mark.training
def test_ppo_learns_from_programs_among_hostile_ones(
    attack: Attack,  # noqa: ARG001 - it is checked afterwards
    inputs: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Training ends as ever: the third that is right is rewarded, the hostile third never is."""
    config = online_stages.ppo_config(
        answers=RULES,
        validation={"answers": RULES, "questions": 30, "max_new_tokens": 12},
        sampling=Sampling(temperature=1, top_p=1, max_new_tokens=12),
        batch_size=60,
        mini_batch_size=30,
        micro_batch_size=10,
        max_length=40,
    )
    output = online_stages.run(config, inputs, tmp_path / "run")
    model_files.check(tmp_path / "run" / "out")
    counts = output.counts
    assert (counts["rollouts"], counts["answers"]) == (2, 120)
    assert counts["read-timeout"] >= 2
    assert counts["read-ok"] >= 40
    assert sum(number for name, number in counts.items() if name.startswith("read-")) == 120
    assert output.metrics["sampledAccuracy"].value == pytest.approx(1 / 3, abs=0.02)
    assert output.metrics["accuracy"].value == pytest.approx(1 / 3, abs=0.04)


def test_hostile_samples_are_wrong_and_leave_the_others_alone(
    attack: Attack, inputs: dict[str, Path], tmp_path: Path
) -> None:
    """Every right program is graded right, whatever ran before it; no secret gets out."""
    config = Sample(
        per_question=2,
        greedy=True,
        sampling=Sampling(temperature=1, top_p=1, max_new_tokens=12),
        answers=RULES,
    )
    output = online_stages.run(config, inputs, tmp_path / "run")
    found = rows.read(tmp_path / "run" / "out" / "samples-00000.jsonl", AnswerSample)
    gold = {problem.id: problem for problem in PROBLEMS}
    right = [row for row in found if row.text == gold[row.question_id].target]
    bad = [row for row in found if row.text == LOOP or row.text.startswith("    return 0\n")]
    assert (len(found), len(right), len(bad)) == (180, 60, 60)
    assert all(row.correct for row in right)
    assert not any(row.correct for row in bad)
    said = " ".join(str(row.value) for row in bad)
    assert "ESCAPED" not in said
    assert attack.values["secret"] not in said
    assert output.counts["read-timeout"] >= 1
