from functools import partial
from pathlib import Path
from typing import Any

import pytest

from autodidact_contract.records import Problem, Question
from autodidact_contract.stages.answers import Answers
from autodidact_contract.stages.data import PrepareQuestions
from autodidact_worker.answers import questions, reading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.sandbox import pool
from autodidact_worker.stages.prepare_questions import wanted
from support.questions import NUMBERS, question
from support.sampling_stages import run_in_process

PUBLISHED = Answers(rules="rcCompat", kind="number")


CHOICES = Answers(rules="robust", kind="choice")


def config(**changes: Any) -> PrepareQuestions:
    """A config that takes any question of these tests."""
    values = {"split": "train", "answers": NUMBERS, "max_question_tokens": 100, "max_length": 200}
    return PrepareQuestions(**values | changes)


@pytest.fixture
def prepare(bench: Any, llama: Path) -> Any:
    """Runs the stage and returns its rows and its counts."""
    model = bench.put("import", llama)

    def run(given: list[Question], *, others: Any = None, **changes: Any) -> Any:
        inputs = {"questions": bench.put_rows(given), "model": model}
        if others:
            inputs["others"] = bench.put_rows(others)
        done = bench.run(config(**changes), **inputs)
        return rows.read(bench.fetch(done) / rows.DATA, Problem), bench.result(done).counts

    return run


def test_rows_keep_their_order(prepare: Any) -> None:
    """One problem a question, in the order of the file, with nothing to warn about."""
    made, counts = prepare([question(i) for i in (2, 0, 1)])
    assert [row.id for row in made] == ["q-2", "q-0", "q-1"]
    assert counts == {
        "rows": 3,
        "duplicates": 0,
        "overlap": 0,
        "too-long": 0,
        "unproven": 0,
        "sandbox-missing": 0,
    }


@pytest.mark.parametrize(
    ("rules", "changes", "said"),
    [
        (NUMBERS, {"answer": "five"}, r"1 of 2 gold .* number .* q-7: 'five' \(not-a-number\)"),
        (PUBLISHED, {"answer": "$5"}, r"q-7: '\$5' \(not-a-number\)"),
        (CHOICES, {"answer": "d", "options": ("a", "b")}, r"q-7: 'd' \(not-an-option\)"),
        (CHOICES, {"answer": "a"}, r"q-7: 'a' \(not-an-option\); correct them with their options"),
        (
            Answers(rules="rcCompat", kind="choice"),
            {"answer": "d", "options": ("a", "b")},
            r"q-7: 'd' \(no option\)",
        ),
    ],
)
def test_gold_answers_that_cannot_be_read_are_named(
    prepare: Any, rules: Answers, changes: dict[str, Any], said: str
) -> None:
    """Id, value and reason of the first ones, and how many there are."""
    good = question(answer="a", options=("a",)) if rules.kind == "choice" else question()
    with pytest.raises(UserError, match=said) as caught:
        prepare([good, question(7, **changes)], answers=rules)
    assert caught.value.reason == "UnreadableAnswers"


def test_only_some_of_many_bad_rows_are_named(
    prepare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The message stays short however many rows are bad; the log has all of them."""
    with pytest.raises(UserError, match="30 of 30") as caught:
        prepare([question(i, answer="?") for i in range(30)])
    assert "q-4" in str(caught.value)
    assert "q-5" not in str(caught.value)
    assert "and 25 more, which the log has; correct them" in str(caught.value)
    assert all(f"q-{number}: '?'" in caplog.text for number in range(30))


def test_training_needs_reasoning(prepare: Any) -> None:
    """Missing chains of thought are named in the training split and fine elsewhere."""
    given = [question(0), question(1, reasoning="  ")]
    with pytest.raises(UserError, match="1 of 2 training questions have no reasoning: q-1"):
        prepare(given)
    made, _ = prepare(given, split="test")
    assert [bool(row.target) for row in made] == [True, False]


def test_long_prompts_are_named_with_their_lengths(prepare: Any) -> None:
    """Counted with the model's own tokenizer, template included; the limit itself is fine."""
    # One token a character: 29 around the question, 14 in it.
    prompt = reading.prompt("What is 2 + 3?", "language")
    assert len(prompt) == 43
    prepare([question(0)], max_question_tokens=43)
    with pytest.raises(UserError, match=r"1 of 1 prompts have more than 42 tokens: q-0: 43") as e:
        prepare([question(0)], max_question_tokens=42)
    assert e.value.reason == "PromptTooLong"


def test_rows_that_training_cuts_are_counted(prepare: Any) -> None:
    """Prompt, target and end token together may have maxLength tokens."""
    whole = 43 + len("2 + 3 = 5\nTherefore, the answer is: 5") + 1
    assert prepare([question(0)], max_length=whole)[1]["too-long"] == 0
    assert prepare([question(0)], max_length=whole - 1)[1]["too-long"] == 1


def test_overlap_ignores_case_and_spaces(prepare: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Questions of an earlier split are counted and named, however they are written."""
    others = [questions.problem(question(i), NUMBERS) for i in range(3)]
    given = [question(1, id="t-0", question=" what IS\n2 +  4? "), question(9, id="t-1")]
    _, counts = prepare(given, others=others, split="test")
    assert counts["overlap"] == 1
    assert "1 questions are in the training split as well: t-0" in caplog.text


def test_repeated_questions_are_counted_once_less(prepare: Any) -> None:
    """Three rows of one text are two duplicates."""
    _, counts = prepare([question(0, id=f"q-{i}") for i in range(3)])
    assert counts["duplicates"] == 2


def test_reasoning_that_earns_no_reward_is_counted(prepare: Any) -> None:
    """Under the published rules a gold 1,000 is fine and a written 1,000 is none."""
    given = [question(0), question(1, answer="1,000")]
    assert prepare(given, answers=PUBLISHED)[1]["unproven"] == 1
    assert prepare(given)[1]["unproven"] == 0


def test_data_whose_reasoning_is_all_wrong_is_refused(prepare: Any) -> None:
    """There would be nothing to learn: the rules do not fit the data."""
    with pytest.raises(UserError, match="no reasoning leads to its gold answer") as caught:
        prepare([question(i, answer="1,000") for i in range(2)], answers=PUBLISHED)
    assert caught.value.reason == "UnprovenReasoning"


def test_programs_are_run_once_before_any_training(prepare: Any) -> None:
    """The body of each row's solution() must return the gold answer."""
    rules = NUMBERS.model_copy(update={"reasoning": "program"})
    given = [
        question(0, reasoning="    apples = 2 + 3\n    return apples"),
        question(1, reasoning="    return 2 * 4"),
    ]
    made, counts = prepare(given, answers=rules)
    assert made[0].prompt.endswith('def solution():\n    """What is 2 + 3?"""\n')
    assert made[0].target == "    apples = 2 + 3\n    return apples"
    assert counts["unproven"] == 1


def test_a_missing_layer_is_counted_by_name(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any training, so that the run can say what its nodes lack."""
    less = partial(pool.Sandbox, workers=1, required=False, without=("namespaces",))
    monkeypatch.setattr(pool, "Sandbox", less)
    rules = NUMBERS.model_copy(update={"reasoning": "program"})
    _, counts = prepare([question(0, reasoning="    return 2 + 3")], answers=rules)
    assert (counts["sandbox-without-namespaces"], counts["sandbox-missing"]) == (1, 1)


def test_preparing_reads_no_weights(bench: Any, llama: Path) -> None:
    """They are not even fetched, and no trainer is imported."""
    files = {p.name: p.read_bytes() for p in llama.iterdir() if p.suffix != ".safetensors"}
    files["model.safetensors"] = b"never read"
    inputs = {"questions": bench.put_rows([question()]), "model": bench.put("import", files)}
    run_in_process(bench, config(), inputs, ("trl", "deepspeed", "datasets"))
    assert not wanted("model-00001-of-00002.safetensors")
    assert wanted("tokenizer.json")
    assert wanted(rows.DATA)
