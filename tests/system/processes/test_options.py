"""Whole runs in miniature, stage by stage as their graphs say, with what is off by default on."""

import copy
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_contract.artifacts import Artifact
from autodidact_contract.records import Evaluation, Instruction, Pair, Question
from autodidact_contract.stages.answers import Answers
from autodidact_contract.task import Input
from autodidact_operator.plan.graphs import selfreward
from autodidact_operator.plan.types import Graph
from autodidact_worker.answers import questions
from autodidact_worker.runtime import rows
from autodidact_worker.toys import copying
from support import chain
from tools.paths import EXAMPLES

pytestmark = [pytest.mark.training, pytest.mark.thorough]

EXAMPLE = EXAMPLES / "selfreward-toy.yaml"
ANSWERS = Answers(rules="rcCompat", kind="text")  # the whole text is the answer
QUESTIONS = [Question(id=f"q{letter}", question=letter, answer=letter) for letter in "abcdefgh"]
SMALL: Mapping[str, Any] = {
    "prompts": {"perIteration": 12, "seedDemonstrations": 2, "generatedDemonstrations": 1},
    "judge": {"votes": 3},
    "dpo": {"batchSize": 4},
    "evaluation": {"prompts": 6},
}
ROUNDS = ("generate-prompts", "generate-responses", "judge", "build-pairs")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """M1: it has learned the forms of replies, judgements and prompts, and nothing else.

    Half of its replies are right and its judgements are drawn, so that there is something to tell
    apart in every round.
    """
    folder = tmp_path_factory.mktemp("first")
    rng = random.Random(0)
    texts = [copying.prompt(rng) for _ in range(150)]
    shown = [[copying.prompt(rng) for _ in range(3)] for _ in texts]
    asked = [questions.problem(row, ANSWERS) for row in QUESTIONS]
    values: dict[str, list[Any]] = {
        "instructions": [
            *(
                Instruction(prompt=text, response=rng.choice((text[1:-1], "aaaaa")))
                for text in texts
            ),
            *(
                Instruction(prompt=copying.writing_prompt(few), response=copying.prompt(rng))
                for few in shown
            ),
            *(
                Instruction(prompt=row.prompt, response=letter)
                for row in asked
                for letter in (row.answer, "a", "b") * 4
            ),
        ],
        "evaluations": [
            Evaluation(
                prompt=text,
                response=reply,
                judgement=f"{marks}={marks.count('y')}",
                score=marks.count("y"),
            )
            for text in texts
            for reply in (text[1:-1], "aaaaa")
            for marks in [rng.choice(("yyyyy", "nnnnn", "".join(rng.choices("yn", k=5))))]
        ],
    }
    for name, given in values.items():
        (folder / name).mkdir()
        rows.write(folder / name / rows.DATA, given)
    (folder / "model").mkdir()
    copying.write_model(folder / "model", 0)
    inputs = {name: folder / name for name in ("model", "instructions", "evaluations")}
    config = chain.sft_config(epochs=10, batch_size=16, learning_rate=2e-3)
    chain.run(config, inputs, folder / "first")
    return folder


Finish = Callable[..., dict[str, Artifact]]


@pytest.fixture
def finish(bench: Any, first: Path) -> Finish:
    """Runs all stages of a spec but the warm-up, and returns what they made."""

    def run(*, fetch: str = "", **changes: Any) -> Any:
        body = yaml.safe_load(EXAMPLE.read_text())["spec"]
        spec = SelfRewardSpec.model_validate(merged(merged(body, SMALL), changes))
        graph = selfreward.graph(spec, "salt")
        made: dict[str, Input] = {
            "import-model": bench.put("import", first / "model"),
            "import-instructions": bench.put("import", first / "instructions"),
            "import-evaluations": bench.put("import", first / "evaluations"),
            "import-heldout": bench.put_rows(copying.held_out(0)[:6]),
            "import-questions": bench.put_rows(QUESTIONS),
            "train-sft": bench.put("train-sft", first / "first"),
        }
        for stage in graph.stages:
            if stage.name not in made:
                inputs = {name: made[where] for name, where in stage.inputs.items()}
                made[stage.name] = bench.run(stage.config, **inputs)
        check_report(bench, graph, made)
        found = {name: bench.result(given) for name, given in made.items()}
        return (found, bench.fetch(made[fetch])) if fetch else found

    return run


def merged(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a spec with other fields."""
    found = copy.deepcopy(dict(body))
    for name, value in changes.items():
        inner = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = merged(found[name], value) if inner else value
    return found


def check_report(bench: Any, graph: Graph, made: Mapping[str, Input]) -> None:
    """Fails if the page does not name every model of the run."""
    page = (bench.fetch(made["report"]) / "report.html").read_text(encoding="utf-8")
    assert all(f"M{number}" in page for number in graph.models)
    assert "self-rewarding language models" in page


def pairs(folder: Path) -> list[Pair]:
    """The pairs of a fetched artifact."""
    return [row for _, part in rows.read_parts(folder, "pairs", Pair) for row in part]


def test_everything_that_goes_with_a_judge(finish: Finish) -> None:
    """Length control, anchored losers, meta-judge, consistency, NLL and adapters in one run."""
    found, folder = finish(
        fetch="build-pairs-2",
        pairs={
            "rho": [0, 0.3],
            "anchoredLoser": True,
            "maxChosenLength": 7,
            "minScoreGap": 0.1,
        },
        metaJudge={"maxNewTokens": 10, "maxShare": 0.3, "rounds": 1},
        dpo={"consistency": True, "nllCoefficient": 0.5},
        lora={"rank": 2},
    )
    first, second = found["build-pairs-1"], found["build-pairs-2"]
    assert "consistency" not in first.metrics
    share = second.metrics["consistency"]
    assert share is not None
    assert {pair.consistency for pair in pairs(folder)} == {share}
    anchored = sum(pair.rejected_id.startswith("first-") for pair in pairs(folder))
    assert second.counts["anchored"] == anchored
    assert first.counts["anchored"] == 0
    battles = found["meta-judge-1"].counts
    assert battles["battles"] > 0
    decided = battles["verdicts-first"] + battles["verdicts-second"]
    assert decided > battles["verdicts-unreadable"] == 0
    assert found["build-judge-pairs-1"].counts["pairs"] > 0
    assert found["train-dpo-1"].counts["judge-pairs"] > 0
    assert "meta-judge-2" not in found
    assert found["train-dpo-2"].counts["trainableParameters"] < 20000


def test_the_implicit_reward_in_place_of_the_judge(finish: Finish) -> None:
    """Its scores have no votes and may be negative; all that reads scores copes."""
    found = finish(
        reward="implicit",
        pairs={"anchoredLoser": True, "rho": [0.2]},
        dpo={"consistency": True},
    )
    assert found["judge-1"].kind == "implicit-reward"
    assert found["judge-1"].metrics["spread"] > 0
    assert found["build-pairs-2"].counts["pairs"] > 0
    assert 0 <= found["build-pairs-2"].metrics["consistency"] <= 1


def test_right_answers_in_place_of_the_judge(finish: Finish) -> None:
    """Questions take the place of new prompts, and right answers win against wrong ones."""
    found, folder = finish(
        fetch="build-pairs-1",
        reward="verifier",
        data={"questions": {"uri": "s3://tests/questions.jsonl"}},
        answers={"rules": "rcCompat", "kind": "text"},
        iterations=1,
    )
    assert not any(name.startswith(ROUNDS[:3]) for name in found)
    assert found["build-pairs-1"].counts["prompts"] == len(QUESTIONS)
    made = pairs(folder)
    gold = {row.id: row.answer for row in QUESTIONS}
    assert made
    assert all(pair.chosen == gold[pair.prompt_id] != pair.rejected for pair in made)


def test_positives_in_place_of_pairs(finish: Finish) -> None:
    """Each round's SFT starts from the given model, on the seed data and all positives so far."""
    found = finish(learning="positive", judge={"votes": 1}, warmUp={"epochs": 0.2})
    positives = [found[f"build-positives-{t}"].counts["positives"] for t in (1, 2)]
    learned = [found[f"train-positive-{t}"].counts["rows"] for t in (1, 2)]
    assert positives[0] > 0
    assert learned[1] - learned[0] == positives[1]
    assert not any(name.startswith("build-pairs") for name in found)
