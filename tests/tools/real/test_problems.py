"""The word problems of the run on a real model."""

from pathlib import Path

import pytest

from autodidact_contract.records import Evaluation, Instruction, Question, RankedReplies
from autodidact_operator.plan.recipes import BY_KIND
from autodidact_worker.judging import judgement, rubrics
from autodidact_worker.runtime import rows
from tools.real import problems
from tools.real.__main__ import RUNS, SEED_ROWS, SPLITS, manifest, write_data

POOL = problems.problems(0, 300)


def test_every_reasoning_leads_to_its_answer() -> None:
    """Both styles compute what the question asks, in numbers a small model can handle."""
    for problem in POOL:
        for reasoning in (problem.terse, problem.patient):
            assert problems.check(reasoning, str(problem.answer))
        assert 1 <= problem.answer <= problems.MOST


@pytest.mark.parametrize("reasoning", ["2 + 3 = 6", "2 + 3 = 5, 5 - 1 = 3", "five", "2 + 2 = 4"])
def test_wrong_reasoning_is_found(reasoning: str) -> None:
    """A wrong equation, a wrong last one, none at all, or another answer."""
    assert not problems.check(reasoning, "5")


def test_no_problem_comes_twice() -> None:
    """Texts differ, with one operation and with two, and depend on the seed alone."""
    assert len({problem.text for problem in POOL}) == 300
    assert {problem.terse.count("=") for problem in POOL} == {1, 2}
    assert problems.problems(0, 300) == POOL != problems.problems(1, 300)


def test_styles_are_mixed() -> None:
    """About half of the rows have a sentence for each operation."""
    made = problems.questions(POOL, "train", 0)
    patient = sum(row.reasoning == p.patient for row, p in zip(made, POOL, strict=True))
    assert patient / len(made) == pytest.approx(problems.PATIENT_SHARE, abs=0.1)


def test_judgements_end_in_their_scores() -> None:
    """The rubric of the run reads every seed judgement, and ranks follow the replies' quality."""
    rubric = rubrics.get("additive-v1")
    for row in problems.evaluations(POOL, 0):
        assert judgement.vote(rubric, row.judgement, "stop").score == row.score
    for ranked in problems.ranked(POOL, 0):
        assert sorted(ranked.ranks) == [1, 2, 3]


def test_data_is_complete_and_no_problem_is_in_two_files(tmp_path: Path) -> None:
    """Each file has the rows its import wants."""
    folder = write_data(tmp_path)
    schemas = {"instructions": Instruction, "evaluations": Evaluation, "ranked": RankedReplies}
    texts: list[str] = []
    for name, count in (*SPLITS.items(), *SEED_ROWS.items()):
        found = rows.read(folder / f"{name}.jsonl", schemas.get(name, Question))
        assert len(found) == count
        texts += [getattr(row, "question", None) or row.prompt for row in found]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", RUNS)
def test_manifests_are_valid(name: str) -> None:
    """Each run expands to a graph once its places are known."""
    body = manifest(name, {"model": "/models/small", "data": "/data"})
    recipe = BY_KIND[body["kind"]]
    assert recipe.graph(recipe.spec.model_validate(body["spec"]), "salt").stages
