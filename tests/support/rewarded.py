"""The stage implicit-reward on a few replies."""

from collections.abc import Sequence
from typing import Any

from autodidact_contract.records import Judged, Response
from autodidact_contract.stages.judging import ImplicitReward
from autodidact_worker.runtime import rows

CONFIG = ImplicitReward(beta=0.1)


def reply(number: int, index: int, text: str, finish: str = "stop") -> Response:
    """A reply to one of the prompts."""
    return Response(
        id=f"p{number}-{index}",
        prompt_id=f"p{number}",
        prompt=f"say {number}:",
        index=index,
        text=text,
        tokens=len(text),
        finish=finish,
    )


def put(bench: Any, replies: Sequence[Response], part: int = 128) -> Any:
    """Publishes replies in parts of so many."""
    files = {}
    for number in range(-(-len(replies) // part)):
        chunk = replies[number * part : (number + 1) * part]
        lines = b"".join(row.model_dump_json(by_alias=True).encode() + b"\n" for row in chunk)
        files[f"responses-{number:05d}.jsonl"] = lines
    return bench.put("generate-responses", files)


def scored(bench: Any, given: Any) -> list[Judged]:
    """The rows of an artifact."""
    parts = rows.read_parts(bench.fetch(given), "judged", Judged)
    return [row for _, part in parts for row in part]
