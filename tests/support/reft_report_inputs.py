"""Builds the inputs of a ReFT report: the stages of a real plan with made-up but plausible rows."""

import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autodidact_contract.base import digest
from autodidact_contract.records import AnswerSample, Reranked, Verdict
from autodidact_operator.plan.types import Stage
from autodidact_worker.answers.verdicts import verdict
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import InputArtifact
from support.builders import graph, reft
from support.stage_figures import undeclared

SKILL = {
    "warm-up": 0.44,
    "sft": 0.46,
    "offline-self-training": 0.53,
    "online-self-training": 0.57,
    "ppo": 0.93,
    "grpo": 0.9,
}
"""Chance of a right sampled answer, by arm."""

BASELINES = ("sft", "offline-self-training", "online-self-training")


@dataclass
class ReftRun:
    """A ReFT run below a folder; every stage of its plan but imports and report can be added.

    Attributes:
        folder: Where the files go.
        questions: Test questions.
        spec: What the run's spec has beyond three baselines.
        inputs: What a report gets.
    """

    folder: Path
    questions: int = 200
    spec: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, InputArtifact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Plans the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        defaults = {
            "baselines": list(BASELINES),
            "voting": {"samples": 8},
            "ppo": {"epochs": 5, "batchSize": 64},
            "warmUp": {"stopEpochs": 4},
        }
        kinds = ("import", "report")
        planned = graph(reft(**(defaults | self.spec))).stages
        self.stages = {stage.name: stage for stage in planned if stage.config.stage not in kinds}

    def add(self, name: str, counts: dict[str, int] | None = None, **metrics: float | None) -> Path:
        """Adds a stage without files and returns its folder."""
        stage = self.stages[name]
        measured = [metric for metric, value in metrics.items() if value is not None]
        assert undeclared(stage.config.stage, counts or {}, measured) == []
        path = self.folder / name
        path.mkdir()
        self.inputs[name] = InputArtifact(
            path=path,
            kind=stage.config.stage,
            digest=digest(name),
            counts=counts or {},
            metrics=metrics,
            inputs={role: digest(maker) for role, maker in stage.inputs.items()},
            config=stage.config.dump(),
        )
        return path

    def train(self, name: str, lines: list[dict[str, float]], **counts: int) -> None:
        """Adds a training with its log."""
        measured = [line["accuracy"] for line in lines if "accuracy" in line]
        steps = max((int(line["step"]) for line in lines), default=0)
        path = self.add(name, {"steps": steps, **counts}, accuracy=max(measured, default=None))
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (path / "training_log.jsonl").write_text(text)

    def answer(self, arm: str, answers: list[AnswerSample], **counts: int) -> None:
        """Adds the answers of an arm and what follows from them."""
        reasons = {f"read-{reason}": 0 for reason in ("ok", "no-trigger")}
        for row in answers:
            reasons[f"read-{row.reason}"] = reasons.get(f"read-{row.reason}", 0) + 1
        values = {(r.question_id, r.value) for r in answers if r.index >= 0 and r.value is not None}
        unique = len(values) / len({row.question_id for row in answers})
        path = self.add(f"sample-test-{arm}", {**reasons, **counts}, uniqueValues=unique)
        found: dict[str, list[AnswerSample]] = {}
        for row in answers:
            found.setdefault(row.question_id, []).append(row)
        groups = list(found.values())
        for part in range(-(-len(groups) // 64)):
            part_rows = [row for group in rows.chunk(groups, part) for row in group]
            rows.write(path / f"samples-{part:05d}.jsonl", part_rows)
        self.verdicts(arm, [verdict(group, _rules(self.stages)) for group in groups])
        if f"rerank-{arm}" in self.stages:
            self.reranked(arm, [_reranked(group, arm) for group in groups])

    def verdicts(self, arm: str, found: list[Verdict]) -> None:
        """Adds the evaluation of an arm."""
        rows.write_parts(self.add(f"evaluate-{arm}"), "verdicts", found)

    def reranked(self, arm: str, found: list[Reranked]) -> None:
        """Adds what the reranker chose for an arm."""
        rows.write_parts(self.add(f"rerank-{arm}"), "reranked", found)

    def only(self, *names: str) -> dict[str, InputArtifact]:
        """Returns some of the inputs."""
        return {name: self.inputs[name] for name in names}


def whole(folder: Path, questions: int = 200, **spec: Any) -> ReftRun:
    """Returns a run in which everything finished."""
    run = ReftRun(folder, questions=questions, spec=spec)
    for name, stage in run.stages.items():
        if stage.config.stage == "train-reranker":
            run.train(name, [{"step": n, "loss": 0.69 * math.exp(-n / 60)} for n in range(1, 101)])
        elif stage.training:
            sampled = {"answers": 240 * 64} if "passes" in stage.config.dump() else {}
            run.train(name, _log(stage), tokens=1_200_000, **sampled)
        elif name.startswith("sample-test-"):
            arm = name.removeprefix("sample-test-")
            run.answer(arm, _answers(arm, run.questions, stage.config.dump()["perQuestion"]))
        elif name not in run.inputs and not name.startswith(("evaluate-", "rerank-")):
            run.add(name, {"rows": 3000} if "rows" in stage.config.COUNTS else {})
    return run


def sample(
    question: str, index: int, value: str | None, gold: str, text: str | None = None
) -> AnswerSample:
    """Returns an answer to a question; without a value it has no trigger."""
    return AnswerSample(
        id=f"{question}/{index}",
        question_id=question,
        prompt=f"Question:\n{question}\nAnswer reasoning:\n",
        index=index,
        text=f"Therefore, the answer is: {value}" if text is None else text,
        tokens=12,
        finish="stop",
        value=value,
        reason="ok" if value is not None else "no-trigger",
        correct=value == gold,
        gold=gold,
    )


def _rules(stages: dict[str, Stage]) -> Any:
    return stages["evaluate-warm-up"].config.answers


def _answers(arm: str, questions: int, samples: int) -> list[AnswerSample]:
    """Returns answers to chains of sums; questions are as hard for one arm as for another."""
    found = []
    for number in range(questions):
        rng = random.Random(f"{number}")
        ease = rng.gauss(0, 1.1)
        digits = [str(rng.randint(1, 9)) for _ in range(5)]
        question = f"{number:03d}: {'+'.join(digits)}"
        total = sum(map(int, digits))
        logit = math.log(SKILL[arm] / (1 - SKILL[arm])) + ease
        rng = random.Random(f"{arm}/{number}")
        for index in range(-1, samples):
            right = rng.random() < 1 / (1 + math.exp(-logit))
            value: str | None = str(total if right else total + rng.choice((-10, 1, 9)))
            if rng.random() < 0.06 * (1 - SKILL[arm]):
                value = None
            steps = ", ".join(
                f"{sum(map(int, digits[:n]))}+{digits[n]}={sum(map(int, digits[: n + 1]))}"
                for n in range(1, 5)
            )
            text = f"{steps}\nTherefore, the answer is: {value}" if value else steps
            found.append(sample(question, index, value, str(total), text))
    return found


def _reranked(group: list[AnswerSample], arm: str) -> Reranked:
    """Returns a choice that is better than the vote's more often than not."""
    rng = random.Random(f"{arm}/{group[0].question_id}")
    candidates = [row for row in group if row.index >= 0 and row.value is not None]
    if not candidates:
        return Reranked(
            question_id=group[0].question_id,
            gold=group[0].gold,
            value=None,
            correct=False,
            probability=None,
            candidates=0,
        )
    chosen = max(candidates, key=lambda row: row.correct + rng.gauss(0, 0.5))
    return Reranked(
        question_id=chosen.question_id,
        gold=chosen.gold,
        value=chosen.value,
        correct=chosen.correct,
        probability=0.8,
        candidates=len(candidates),
    )


def _log(stage: Stage) -> list[dict[str, float]]:
    """Returns the log of a training, with a validation accuracy every 20 steps."""
    rng = random.Random(stage.name)
    arms = {
        "train-sft": (0.02, 0.44),
        "train-sft-continued": (0.44, 0.46),
        "train-sft-offline": (0.02, 0.53),
        "train-online-st": (0.44, 0.57),
        "train-reft": (0.44, 0.95),
    }
    begin, end = arms[stage.name]
    steps = 240 if stage.name != "train-sft" else 120
    lines: list[dict[str, float]] = []
    for step in range(steps + 1):
        done = 1 - math.exp(-4 * step / steps)
        accuracy = begin + (end - begin) * done
        if step and stage.config.stage in ("train-ppo", "train-grpo"):
            lines.append(_rollout(rng, step, accuracy, done))
        elif step:
            lines.append({"step": step, "loss": 1.2 * math.exp(-done) + rng.uniform(0, 0.06)})
        if step % 20 == 0:
            lines.append({"step": step, "accuracy": min(1.0, accuracy + rng.uniform(-0.02, 0.02))})
    return lines


def _rollout(rng: random.Random, step: int, accuracy: float, done: float) -> dict[str, float]:
    kl = 6 * done + rng.uniform(0, 0.8)
    right = accuracy + rng.uniform(-0.06, 0.06)
    return {
        "step": step,
        "reward": right + 0.08 * (1 - right),
        "sampledAccuracy": right,
        "kl": kl,
        "klReward": -0.05 * kl,
        "policyLoss": rng.uniform(-0.02, 0.01),
        "valueLoss": 0.09 * math.exp(-3 * done) + rng.uniform(0, 0.01),
        "loss": 0.45 * math.exp(-3 * done) + rng.uniform(-0.02, 0.04),
        "explainedVariance": 0.7 * done + rng.uniform(-0.1, 0.1),
        "clipFraction": 0.02 + rng.uniform(0, 0.06),
        "truncation": 0.01 * math.exp(-done) + rng.uniform(0, 0.004),
        "unread": 0.06 * math.exp(-4 * done) + rng.uniform(0, 0.008),
        "timeouts": 0.0,
        "answerLength": 14 + 20 * done + rng.uniform(-1, 1),
        "uniqueTexts": 0.95 - 0.12 * done,
        "gradNorm": 1.5 + rng.uniform(-0.4, 0.8),
    }
