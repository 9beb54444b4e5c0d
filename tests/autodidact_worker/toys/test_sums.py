"""The built-in task for ReFT: its rows, its splits and its model."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import Problem, Question
from autodidact_contract.stages.answers import Answers
from autodidact_contract.stages.data import Import, PrepareQuestions
from autodidact_worker.answers import reading
from autodidact_worker.models import loading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.toys import sums
from support.builders import EXAMPLES

RULES = Answers(rules="robust", kind="number")
SPLITS = tuple(sums.SIZES)


@pytest.mark.parametrize(
    ("question", "running"),
    [("7+3*2+9*4", "0096"), ("0+1+2+3+4", "1360"), ("9*9*9*9*9", "1919"), ("5+5+5+5+5", "0505")],
)
def test_chains_are_worked_from_left_to_right(question: str, running: str) -> None:
    """The last digit is kept after each operation, whatever schools say of products."""
    assert sums.running(question) == running
    assert sums.answer(question) == running[-1]


def test_no_question_is_in_two_splits() -> None:
    """All 3,800 questions of a seed are different."""
    every = [row.question for split in SPLITS for row in sums.questions(0, split)]
    assert len(set(every)) == len(every) == 3800
    assert {len(sums.questions(0, split)) for split in SPLITS} == {3000, 300, 500}


def test_annotations_are_mixed_and_right() -> None:
    """Four of ten rows have the running values, the others dots; all answers are true."""
    found = sums.questions(0, "train")
    for row in found:
        assert row.answer == sums.answer(row.question)
        assert row.reasoning in (sums.SKIPPED, sums.running(row.question))
    steps = sum(row.reasoning != sums.SKIPPED for row in found) / len(found)
    assert steps == pytest.approx(0.4, abs=0.03)
    for row in sums.questions(0, "train", steps=1.0):
        assert row.reasoning == sums.running(row.question)


def test_both_tasks_ask_the_same_questions() -> None:
    """The control differs in its annotations only."""
    mixed, uniform = sums.questions(0, "train"), sums.questions(0, "train", 1.0)
    assert [row.question for row in mixed] == [row.question for row in uniform]


def test_the_control_is_the_same_run_on_other_data() -> None:
    """Its manifest differs from the toy's in names and locations alone."""
    toy, control = (
        (EXAMPLES / name).read_text().partition("apiVersion")[2]
        for name in ("reft-toy.yaml", "reft-toy-control.yaml")
    )
    assert control != toy
    assert control.replace("reft-toy-control", "reft-toy").replace("reft-uniform", "reft") == toy


def test_rows_depend_on_the_seed_alone() -> None:
    """Another seed asks other questions."""
    first, other = sums.questions(0, "test"), sums.questions(1, "test")
    assert sums.questions(0, "test") == first
    assert {row.question for row in first} != {row.question for row in other}


def test_phrases_are_single_tokens(tmp_path: Path) -> None:
    """A row is 18 tokens in either style, each known, and comes back as it was."""
    sums.write_model(tmp_path, 0)
    tokenizer = loading.load_tokenizer(tmp_path)
    for row in sums.questions(0, "train")[:200]:
        prompt = reading.prompt(row.question, "language")
        target = reading.target(row.reasoning, row.answer, "language")
        asked = loading.prompt_ids(tokenizer, prompt)
        told = tokenizer(loading.completion_text(tokenizer, target)).input_ids
        assert (len(asked), len(told)) == (11, sums.OPERATIONS + 3)
        assert tokenizer.unk_token_id not in (*asked, *told)
        assert tokenizer.decode(asked) == prompt
        assert tokenizer.decode(told, skip_special_tokens=True) == target


@pytest.mark.training
def test_model_bytes_depend_on_the_seed_alone(tmp_path: Path) -> None:
    """Whatever a process did before, the same seed gives the same bytes, and another others."""
    program = (
        "import sys, torch; from pathlib import Path; from autodidact_worker.toys import sums\n"
        "torch.manual_seed(5)\n"
        "sums.write_model(Path(sys.argv[1]), 0)"
    )
    there = tmp_path / "there"
    subprocess.run([sys.executable, "-c", program, str(there)], check=True)
    sums.write_model(tmp_path / "here", 0)
    sums.write_model(tmp_path / "other", 1)
    first, other = _weights(tmp_path / "here"), _weights(tmp_path / "other")
    assert _weights(there) == first != other


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.training
def test_the_task_goes_through_import_and_preparation(bench: Any) -> None:
    """Both task names are served; every target leads to its answer and no split overlaps."""
    for task in ("reft", "reft-uniform"):
        model = bench.run(Import(uri=f"toy://{task}/model", content="model"))
        train = _prepared(bench, task, "train", model=model)
        test = _prepared(bench, task, "test", model=model, others=train)
        made = bench.result(train).counts
        assert (made["rows"], made["unproven"], made["duplicates"]) == (3000, 0, 0)
        assert bench.result(test).counts["overlap"] == 0
        assert len(rows.read(bench.fetch(test) / rows.DATA, Problem)) == 500


def _prepared(bench: Any, task: str, split: str, **inputs: Any) -> Any:
    given = bench.run(Import(uri=f"toy://{task}/{split}", content="questions"))
    config = PrepareQuestions(split=split, answers=RULES, max_question_tokens=16, max_length=32)
    return bench.run(config, questions=given, **inputs)


@pytest.mark.parametrize("name", ["reft/heldout", "reft/model", "selfreward/train", "reft"])
def test_what_the_task_has_not_is_refused_with_what_it_has(bench: Any, name: str) -> None:
    """The message lists the locations there are."""
    with pytest.raises(UserError, match="for questions use toy://reft/train or toy://reft/vali"):
        bench.run(Import(uri=f"toy://{name}", content="questions"))


def test_ids_must_be_unique(bench: Any, tmp_path: Path) -> None:
    """The ids and the rows they are in are named."""
    made = [Question(id=name, question="?", answer="1") for name in ("a", "b", "a", "c", "b", "a")]
    rows.write(tmp_path / "twice.jsonl", made)
    with pytest.raises(UserError, match="2 ids are not unique: a in rows 1, 3, 6; b in rows 2, 5"):
        bench.run(Import(uri=f"file://{tmp_path / 'twice.jsonl'}", content="questions"))
