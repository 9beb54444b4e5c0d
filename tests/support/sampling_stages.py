"""Each stage that samples with small inputs, on a random tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from autodidact_contract.records import (
    Instruction,
    Judged,
    Prompt,
    RankedReplies,
    Response,
)
from autodidact_contract.stages.base import Sampling, StageConfig
from autodidact_contract.stages.data import BuildPairs, GeneratePrompts
from autodidact_contract.stages.judging import (
    Contest,
    Evaluate,
    GenerateResponses,
    Judge,
    JudgeRanked,
)
from autodidact_contract.task import Input, StageTask
from autodidact_worker.runtime import rows

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=6)


PROMPTS = 150  # three part files


def prompts_config(**changes: Any) -> GeneratePrompts:
    """A config whose filters let a random model's noise pass."""
    values: dict[str, Any] = {
        "rubric": "toy-copy-v1",
        "count": 70,
        "sampling": Sampling(temperature=1.0, top_p=1.0, max_new_tokens=40),
        "seed_demonstrations": 3,
        "generated_demonstrations": 2,
        "min_words": 1,
        "max_words": 50,
        "excluded_words": (),
        "max_rouge": 0.7,
        "attempts_per_prompt": 20,
    }
    return GeneratePrompts(**values | changes)


def judge_config(**changes: Any) -> Judge:
    """Three votes in the toy's form."""
    values: dict[str, Any] = {
        "rubric": "toy-copy-v1",
        "votes": 3,
        "min_valid": 1,
        "allow_fractional": False,
        "sampling": SAMPLING,
    }
    return Judge(**values | changes)


def pairs_config(**changes: Any) -> BuildPairs:
    """The plain rule."""
    values = {"tie_break": "random", "min_score_gap": 0.0, "exclude_truncated": False}
    return BuildPairs(**values | changes)


def evaluate_config(**changes: Any) -> Evaluate:
    """The oracle decides battles on the first 80 held-out prompts; changes are the contest's."""
    contest: dict[str, Any] = {
        "rubric": "toy-copy-v1",
        "judge": "oracle",
        "judge_sampling": SAMPLING,
        "reply_sampling": SAMPLING,
        "prompts": 80,
    }
    votes = {"votes": changes.pop("votes", 2), "min_valid": 1, "allow_fractional": False}
    return Evaluate(**votes, contest=Contest(**contest | changes))


REPLIES = GenerateResponses(per_prompt=2, sampling=SAMPLING)


def text(number: int) -> str:
    """A prompt of the toy task."""
    letters = "".join("abcdefgh"[number // 8**place % 8] for place in range(5))
    return f"A{letters}:"


def prompt_parts(count: int = PROMPTS) -> dict[str, bytes]:
    """Part files of prompts."""
    made = [
        Prompt(id=rows.text_id(text(i)), prompt=text(i), demonstrations=(), rouge_max=0)
        for i in range(count)
    ]
    return parts("prompts", made)


def parts(stem: str, values: list[Any]) -> dict[str, bytes]:
    """Part files of rows, at least one."""
    lines = [value.model_dump_json(by_alias=True).encode() + b"\n" for value in values]
    return {
        f"{stem}-{part:05d}.jsonl": b"".join(lines[part * 64 : part * 64 + 64])
        for part in range(max(1, -(-len(lines) // 64)))
    }


def replies(count: int = PROMPTS) -> dict[str, bytes]:
    """Part files of two replies a prompt; 64 prompts a part."""
    files = {}
    for part in range(-(-count // 64)):
        made = [
            Response(
                id=f"{rows.text_id(text(i))}-{index}",
                prompt_id=rows.text_id(text(i)),
                prompt=text(i),
                index=index,
                text="abcdefgh"[i % 4 : i % 4 + 5 - index],
                tokens=5,
                finish="stop",
            )
            for i in range(part * 64, min(count, part * 64 + 64))
            for index in range(2)
        ]
        files |= {f"responses-{part:05d}.jsonl": parts("x", made[:64])["x-00000.jsonl"]}
        files[f"responses-{part:05d}.jsonl"] += parts("x", made[64:])["x-00000.jsonl"]
    return files


def held_out(count: int = 100) -> list[RankedReplies]:
    """Held-out rows with three ranked replies."""
    return [
        RankedReplies(prompt=text(i), replies=(text(i)[1:-1], "aaaaa", "bbbbb"), ranks=(1, 2, 3))
        for i in range(count)
    ]


def seeds(bench: Any, count: int = 12) -> Input:
    """Seed instructions."""
    return bench.put_rows([Instruction(prompt=text(97 * i), response="x") for i in range(count)])


def small_stages(bench: Any, llama: Path, other_llama: Path) -> dict[str, Any]:
    """Each sharded or sampling stage with small inputs: name -> (config, inputs)."""
    model, other = bench.put("import", llama), bench.put("import", other_llama)
    scored = [judged(i, index, 5.0 * index) for i in range(3) for index in range(2)]
    return {
        "generate-prompts": (prompts_config(), {"model": model, "instructions": seeds(bench)}),
        "generate-responses": (
            REPLIES,
            {"model": model, "prompts": bench.put("generate-prompts", prompt_parts())},
        ),
        "judge": (
            judge_config(),
            {"model": model, "responses": bench.put("generate-responses", replies())},
        ),
        "judge-ranked": (
            JudgeRanked(
                rubric="toy-copy-v1", attempts=2, allow_fractional=False, sampling=SAMPLING
            ),
            {"model": model, "ranked": bench.put_rows(held_out())},
        ),
        "build-pairs": (
            pairs_config(),
            {"judged": bench.put("judge", parts("judged", scored))},
        ),
        "evaluate": (
            evaluate_config(),
            {"model": model, "previous": other, "heldout": bench.put_rows(held_out())},
        ),
        "evaluate by referee": (
            evaluate_config(rubric="short-v1", judge="model", prompts=70, votes=1),
            {
                "model": model,
                "previous": other,
                "referee": model,
                "heldout": bench.put_rows(held_out(70)),
            },
        ),
    }


def judged(number: int, index: int, score: float | None) -> Judged:
    """A scored reply."""
    return Judged(
        id=f"{rows.text_id(text(number))}-{index}",
        prompt_id=rows.text_id(text(number)),
        prompt=text(number),
        text=f"reply {index}",
        finish="stop",
        votes=(),
        score=score,
    )


KINDS = [
    "generate-prompts",
    "generate-responses",
    "judge",
    "judge-ranked",
    "build-pairs",
    "evaluate",
]


SHARDED = ["generate-responses", "judge", "judge-ranked", "evaluate", "evaluate by referee"]


CHECK_IMPORTS = """
import sys
from autodidact_worker import process
code = process.run_from_environment()
assert code == 0, code
found = [name for name in {names!r} if sys.modules.get(name)]
assert not found, found
"""


def run_in_process(
    bench: Any, config: StageConfig, inputs: dict[str, Input], forbidden: tuple[str, ...]
) -> None:
    """Runs a stage in a new interpreter that fails if it imported a forbidden module."""
    task = bench.task(StageTask(name="stage", config=config, inputs=inputs))
    environ = os.environ | {
        "AUTODIDACT_TASK": json.dumps(task.dump()),
        "AUTODIDACT_STORE": bench.uri,
    }
    code = CHECK_IMPORTS.format(names=forbidden)
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
