"""Builds the inputs of a report: a run of the copying task with invented but plausible figures."""

import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from autodidact_contract.base import digest
from autodidact_contract.records import Battle, Judged, Pair, Vote
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import InputArtifact
from support.stage_figures import undeclared

LETTERS = "abcdefgh"

STAGES_OF = {
    "train-positive": "train-sft",
    "build-instructions": "build-seed",
    "build-heldout": "build-seed",
}
"""Kinds of the stages that are not called by their kind."""


@dataclass
class Run:
    """A run below a folder; every method adds one finished stage.

    Attributes:
        folder: Where the files go.
        prompts: Prompts of a round.
        replies: Replies to each.
        inputs: What a report gets.
    """

    folder: Path
    prompts: int = 80
    replies: int = 4
    inputs: dict[str, InputArtifact] = field(default_factory=dict)

    def add(self, name: str, counts: dict[str, int] | None = None, **metrics: float | None) -> Path:
        """Adds a stage without files and returns its folder."""
        path = self.folder / name
        path.mkdir()
        kind = name.rstrip("0123456789").rstrip("-")
        assert undeclared(STAGES_OF.get(kind, kind), counts or {}, metrics) == []
        self.inputs[name] = InputArtifact(
            path=path, kind=kind, digest=digest(name), counts=counts or {}, metrics=metrics
        )
        return path

    def training(self, name: str, steps: int = 120) -> None:
        """Adds a training with a falling loss."""
        rng = random.Random(name)
        margin = name.startswith("train-dpo")
        lines = []
        for step in range(1, steps + 1):
            row = {"step": step, "loss": 0.69 * math.exp(-step / 50) + rng.uniform(0, 0.05)}
            row["learningRate"] = 1e-4 * (1 - step / steps)
            if margin:
                row["rewardsMargin"] = 3 * (1 - math.exp(-step / 40)) + rng.uniform(-0.2, 0.2)
            lines.append(json.dumps(row))
        (self.add(name) / "training_log.jsonl").write_text("\n".join(lines) + "\n")

    def sampling(self, number: int, skill: float) -> list[Judged]:
        """Adds new prompts, replies, judgements; better models copy more letters."""
        rng = random.Random(number)
        self.add(
            f"generate-prompts-{number}",
            {
                "accepted": self.prompts,
                "attempted": self.prompts * 2,
                "first-words": self.prompts - number,
            },
            rougeMax=0.31 + 0.04 * number,
        )
        total = self.prompts * self.replies
        self.add(
            f"generate-responses-{number}",
            {"prompts": self.prompts, "responses": total, "truncated": 2},
            characters=5.0 + 0.1 * number,
        )
        judged = [row for _ in range(self.prompts) for row in self._prompt(rng, skill)]
        scores = [row.score for row in judged if row.score is not None]
        votes = [vote for row in judged for vote in row.votes]
        self.judged(
            number,
            judged,
            {
                "responses": total,
                "judgements": len(votes),
                "parsed": sum(vote.reason == "ok" for vote in votes),
                "prompts": self.prompts,
                "ties": self.prompts // 5,
            },
            score=sum(scores) / len(scores),
            spread=1.1,
        )
        return judged

    def judged(
        self, number: int, judged: list[Judged], counts: dict[str, int], **metrics: float
    ) -> None:
        """Adds judged replies as they are given."""
        rows.write_parts(self.add(f"judge-{number}", counts, **metrics), "judged", judged)

    def pairs(self, number: int, judged: list[Judged]) -> None:
        """Adds a pair of best and worst for each prompt with different scores."""
        groups: dict[str, list[Judged]] = {}
        for row in judged:
            groups.setdefault(row.prompt_id, []).append(row)
        found = []
        for group in groups.values():
            scored = sorted((r for r in group if r.score is not None), key=lambda r: r.score or 0.0)
            if scored and (scored[0].score or 0.0) < (scored[-1].score or 0.0):
                found.append(_pair(scored[-1], scored[0]))
        lost = len(groups) - len(found)
        path = self.add(
            f"build-pairs-{number}",
            {"prompts": len(groups), "pairs": len(found), "dropped-tie": lost, "dropped-gap": 0},
            gap=1.9,
            chosenLength=5.4,
            rejectedLength=4.9,
        )
        rows.write_parts(path, "pairs", found)

    def evaluate(
        self, number: int, quality: float | None, battles: tuple[int, int, int] | None = None
    ) -> None:
        """Adds an evaluation with so many wins, ties and losses against each of two opponents."""
        path = self.add(
            f"evaluate-{number}",
            {
                "ranked-prompts": 256,
                "ranked-pairs": 1400,
                "unscored-pairs": 3,
                "constant-prompts": 7,
            },
            quality=quality,
            greedyQuality=None if quality is None else quality + 0.1,
            replyLength=5.0,
            pairwiseAccuracy=0.81 + 0.01 * number,
            exactMatch=0.34,
            fiveBest=0.72,
            spearman=0.62,
            kendall=0.57,
            tieRate=0.11,
        )
        if battles:
            names = ("win", "tie", "loss")
            fought = [
                Battle(
                    opponent=opponent,
                    prompt_id=f"{i:016x}",
                    prompt="Aabcde:",
                    ours="abcde",
                    theirs="abaaa",
                    verdicts=(name,),
                    result=name,
                )
                for opponent in ("previous", "first")
                for name, count in zip(names, battles, strict=True)
                for i in range(count)
            ]
            rows.write_parts(path, "battles", fought)

    def _prompt(self, rng: random.Random, skill: float) -> list[Judged]:
        letters = "".join(rng.choice(LETTERS) for _ in range(5))
        prompt = f"A{letters}:"
        found = []
        for index in range(self.replies):
            text = "".join(c if rng.random() < skill else "a" for c in letters)
            right = sum(a == b for a, b in zip(letters, text, strict=True))
            found.append(
                judged(prompt, index, text, [right, right, max(0, right - rng.randint(0, 1))])
            )
        return found


def judged(prompt: str, index: int, text: str, scores: list[int]) -> Judged:
    """Returns a judged reply with a vote for each score; negative ones are unreadable."""
    name = rows.text_id(prompt)
    votes = tuple(
        Vote(text=f"{'y' * score}{'n' * (5 - score)}={score}", score=float(score), reason="ok")
        if score >= 0
        else Vote(text="I like it.", score=None, reason="no-score")
        for score in scores
    )
    valid = [vote.score for vote in votes if vote.score is not None]
    mean = sum(valid) / len(valid) if valid else None
    return Judged(
        id=f"{name}-{index}",
        prompt_id=name,
        prompt=prompt,
        text=text,
        finish="stop",
        votes=votes,
        score=mean,
    )


def _pair(best: Judged, worst: Judged) -> Pair:
    return Pair(
        prompt_id=best.prompt_id,
        prompt=best.prompt,
        chosen=best.text,
        rejected=worst.text,
        chosen_id=best.id,
        rejected_id=worst.id,
        chosen_score=best.score or 0.0,
        rejected_score=worst.score or 0.0,
    )


def whole(folder: Path, iterations: int = 2, prompts: int = 80) -> Run:
    """Returns a run in which everything finished."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, prompts=prompts)
    run.training("train-sft")
    run.evaluate(0, 3.31)
    for number in range(1, iterations + 1):
        judged_rows = run.sampling(number, 1 - 0.35 / number**2)
        run.pairs(number, judged_rows)
        run.training(f"train-dpo-{number}", 60)
        run.evaluate(number, 5 - 0.24 / number**2, (139 // number, 109, 8))
    return run
