from typing import Any

import pytest

from autodidact_contract.records import AnswerSample, Problem
from autodidact_contract.stages.data import BuildSelfTraining
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from support.sampled import answer, problem
from support.sampling_stages import parts, run_in_process

SAMPLED = [
    answer(0, -1, "greedy", correct=True),
    answer(0, 0, "one", correct=True),
    answer(0, 1, "wrong", correct=False),
    answer(0, 2, "gold", correct=True),
    answer(0, 3, "one", correct=True),
    answer(0, 4, "two", correct=True),
    answer(1, 0, "wrong", correct=False),
]


def self_training(bench: Any, sampled: list[AnswerSample], keep: int) -> Any:
    """The stage's inputs and config."""
    given = {
        "questions": bench.put_rows([problem(i) for i in range(2)]),
        "samples": bench.put("sample", parts("samples", sampled)),
    }
    return BuildSelfTraining(keep=keep), given


@pytest.mark.parametrize(("keep", "taught"), [(10, ["one", "two"]), (1, ["one"])])
def test_right_samples_stand_beside_the_gold_rows(bench: Any, keep: int, taught: list[str]) -> None:
    """Each different right sample once, never the gold text or the greedy answer, up to keep."""
    built, given = self_training(bench, SAMPLED, keep)
    done = bench.run(built, **given)
    made = rows.read(bench.fetch(done) / rows.DATA, Problem)
    expected = [("q-0", "gold"), *((f"q-0/{i}", t) for i, t in enumerate(taught)), ("q-1", "gold")]
    assert [(row.id, row.target) for row in made] == expected
    assert {row.prompt for row in made if row.id.startswith("q-0")} == {problem(0).prompt}
    assert bench.result(done).counts == {
        "gold": 2,
        "right": 4,
        "unique": 2,
        "self-taught": len(taught),
        "solved": 1,
        "rows": 2 + len(taught),
    }


def test_samples_of_other_questions_are_refused(bench: Any) -> None:
    """Samples and questions must belong together."""
    built, given = self_training(bench, [answer(7, 0, "x", correct=True)], 1)
    with pytest.raises(UserError, match="sample q-7/0 answers q-7, which is none"):
        bench.run(built, **given)


def test_self_training_rows_are_built_without_torch(bench: Any) -> None:
    """A small CPU pod is enough."""
    built, given = self_training(bench, SAMPLED, 10)
    run_in_process(bench, built, given, ("torch", "transformers", "trl", "deepspeed", "numpy"))
