import json

import pytest

from autodidact_contract.records import Instruction
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import UserError
from support.training_rows import (
    EVALUATIONS,
    INSTRUCTIONS,
    PAIRS,
    Run,
    digest,
)


def test_prompts_without_room_are_named(run_trainer: Run) -> None:
    """A row whose prompt alone fills the context cannot be learned."""
    long = [*INSTRUCTIONS, Instruction(prompt="a" * 50, response="b")]
    with pytest.raises(UserError, match="instructions row 21: its prompt alone has 50 tokens"):
        run_trainer(instructions=long, max_length=50)


def test_sft_learns_replies_and_judgements(run_trainer: Run) -> None:
    """Rows of both kinds are counted, cut ones as well; the loss falls; the model is safe."""
    out, output = run_trainer(
        instructions=[*INSTRUCTIONS, Instruction(prompt="abc", response="d" * 60)],
        evaluations=EVALUATIONS,
        epochs=6,
        max_length=40,
        learning_rate=1e-2,
    )
    curve = [
        json.loads(line)["loss"] for line in (out / model_files.CURVE).read_text().splitlines()
    ]
    assert sum(curve[-4:]) < 0.7 * sum(curve[:4])
    counts = output.counts
    assert (counts["rows"], counts["truncated"], counts["steps"]) == (25, 1, 38)
    assert output.metrics["loss"].value == pytest.approx(sum(curve[-4:]) / 4)
    model_files.check(out)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_log.jsonl",
    }


def test_positives_are_learned_beside_the_seed_data(run_trainer: Run) -> None:
    """Those of all rounds, also where a round found none; as if they were instructions."""
    first, second = INSTRUCTIONS[:15], INSTRUCTIONS[15:]
    out, output = run_trainer(instructions=first, **{"positives-1": second, "positives-2": []})
    assert output.counts["rows"] == 20
    assert digest(out) == digest(run_trainer(instructions=INSTRUCTIONS)[0])


def test_a_training_needs_something_to_learn(run_trainer: Run) -> None:
    """None of the three kinds of rows: said so."""
    with pytest.raises(UserError, match="none of the inputs instructions") as caught:
        run_trainer(pairs=PAIRS)
    assert caught.value.reason == "NothingToLearn"
