"""Stage ``evaluate``: how well a model judges, and whether it answers better than its predecessor.

Phases, each with one model in memory: the model judges people's ranked replies; the model and its
predecessor answer the same prompts; the referee, or the task's oracle, compares the answers.
Both models sample with the same noise, so equal models give equal replies. A battle is won when
both orders of presentation agree, anything else is a draw; equal replies need no referee.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from autodidact_contract.artifacts import PART_ITEMS, Mean, part_name, shard_parts
from autodidact_contract.records import Battle, RankedReplies, Ranking
from autodidact_contract.stages import Evaluate
from autodidact_worker import generation, judging, metrics, rows, rubrics
from autodidact_worker.errors import UserError
from autodidact_worker.frame import Context, Output
from autodidact_worker.generation import Completion, Generator, Request, seed_key

Verdict = Literal["win", "tie", "loss", "invalid"]
Quality = Callable[[str, str], float]
_OURS: dict[str | None, Verdict] = {"A": "win", "B": "loss", "tie": "tie", None: "invalid"}
_THEIRS: dict[str | None, Verdict] = {"A": "loss", "B": "win", "tie": "tie", None: "invalid"}


@dataclass(kw_only=True)
class _Part:
    """Held-out prompts of one part file.

    Attributes:
        number: Number of the part.
        rows: Its rows.
        asked: The first so many are answered by the models.
        ours: Our replies.
        theirs: The predecessor's.
    """

    number: int
    rows: list[RankedReplies]
    asked: int
    ours: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)


def run(context: Context) -> Output:
    """Writes ``rankings-NNNNN.jsonl``, and ``battles-NNNNN.jsonl`` where there was a predecessor.

    Raises:
        UserError: A held-out row does not fit the model's context; no referee.
    """
    config: Evaluate = context.config
    rubric = rubrics.get(config.rubric)
    quality = _oracle(config, rubric)
    _check_referee(context, rubric)
    parts = list(_parts(context))
    steps = _Steps(context, parts, quality is not None)
    rankings: list[Ranking] = []
    for part in parts:
        ranked = _rank(context, rubric, part, steps)
        rows.write(context.out / part_name("rankings", part.number), ranked)
        rankings += ranked
    counts, figures = metrics.ranking_metrics(rankings, best=rubric.high)
    if quality or "previous" in context.inputs:
        for part in parts:
            part.ours = _answer(context, "model", part, steps)
        figures |= _reply_figures(parts, quality)
    if "previous" in context.inputs:
        for part in parts:
            part.theirs = _answer(context, "previous", part, steps)
        battles = _fight(context, rubric, parts, quality, steps)
        more, shares = metrics.battle_metrics(battles)
        counts |= more
        figures |= shares
    return Output(counts=counts, metrics=figures, engine=steps.engine)


class _Steps:
    """Progress over all phases, in completions, and what samples in them."""

    def __init__(self, context: Context, parts: list[_Part], oracle: bool) -> None:
        config: Evaluate = context.config
        asked = sum(part.asked for part in parts)
        phases = (oracle or "previous" in context.inputs) + 1 * ("previous" in context.inputs)
        judged = sum(len(row.replies) for part in parts for row in part.rows) * config.votes
        fought = 0 if oracle or "previous" not in context.inputs else 2 * asked
        self._context = context
        self._done, self._total = 0, judged + phases * asked + fought
        self.engine = ""

    def __call__(self, made: int) -> None:
        self._done += made
        self._context.progress(self._done, self._total)

    def generator(self, model: str) -> Generator:
        """Returns the generator on an input model, for the next phase."""
        found = generation.load(self._context.inputs[model].path)
        self.engine = found.engine
        return found


def _oracle(config: Evaluate, rubric: rubrics.Rubric) -> Quality | None:
    """Returns the task's own measure of a reply, if it is to decide."""
    if config.judge == "model":
        return None
    if rubric.oracle is None:
        raise UserError(
            "InvalidConfig", f"rubric {rubric.name} has no oracle; set evaluation.judge to model"
        )
    quality: Quality = importlib.import_module(rubric.oracle).quality
    return quality


def _check_referee(context: Context, rubric: rubrics.Rubric) -> None:
    config: Evaluate = context.config
    if config.judge == "oracle" or "previous" not in context.inputs:
        return
    if "referee" not in context.inputs or rubric.pairwise is None:
        raise UserError(
            "InvalidConfig",
            f"battles with rubric {rubric.name} need the input referee and a pairwise template; "
            "set evaluation.judge to oracle where the task has one",
        )


def _parts(context: Context) -> Iterator[_Part]:
    config: Evaluate = context.config
    held_out = rows.read(context.inputs["heldout"].path / rows.DATA, RankedReplies)
    for number in shard_parts(len(held_out), context.shard, context.shards):
        chunk = rows.chunk(held_out, number)
        asked = min(max(config.prompts - number * PART_ITEMS, 0), len(chunk))
        yield _Part(number=number, rows=chunk, asked=asked)


def _rank(context: Context, rubric: rubrics.Rubric, part: _Part, steps: _Steps) -> list[Ranking]:
    """Returns the judge's mean score of every reply."""
    config: Evaluate = context.config
    requests = [
        Request(
            id=f"{rows.text_id(row.prompt)}-{index}",
            prompt=judging.render(rubric, row.prompt, reply),
            n=config.votes,
            seed_key=seed_key(config.seed, "evaluate/judge", f"{rows.text_id(row.prompt)}-{index}"),
        )
        for row in part.rows
        for index, reply in enumerate(row.replies)
    ]
    generator = steps.generator("model")
    found = generator.generate(requests, config.judge_sampling, steps, context.stopping)
    scores = iter(_score(rubric, config, completions) for completions in found)
    return [
        Ranking(
            prompt_id=rows.text_id(row.prompt),
            ranks=row.ranks,
            scores=tuple(next(scores) for _ in row.replies),
        )
        for row in part.rows
    ]


def _score(rubric: rubrics.Rubric, config: Evaluate, completions: list[Completion]) -> float | None:
    votes = [
        judging.vote(rubric, one.text, one.finish, fractional=config.allow_fractional)
        for one in completions
    ]
    return judging.mean_score(votes, config.min_valid)


def _answer(context: Context, model: str, part: _Part, steps: _Steps) -> list[str]:
    """Returns one sampled reply of an input model to each asked prompt."""
    config: Evaluate = context.config
    requests = [
        Request(
            id=rows.text_id(row.prompt),
            prompt=row.prompt,
            n=1,
            seed_key=seed_key(config.seed, "evaluate/reply", rows.text_id(row.prompt)),
        )
        for row in part.rows[: part.asked]
    ]
    generator = steps.generator(model)
    found = generator.generate(requests, config.reply_sampling, steps, context.stopping)
    return [one.text for [one] in found]


def _reply_figures(parts: list[_Part], quality: Quality | None) -> dict[str, Mean]:
    replies = [
        (row.prompt, reply)
        for part in parts
        for row, reply in zip(part.rows, part.ours, strict=False)
    ]
    weight = float(len(replies))
    figures = {"replyLength": Mean(total=float(sum(len(r) for _, r in replies)), weight=weight)}
    if quality:
        values = [quality(prompt, reply) for prompt, reply in replies]
        figures["quality"] = Mean(total=sum(values), weight=weight)
    return figures


def _fight(
    context: Context,
    rubric: rubrics.Rubric,
    parts: list[_Part],
    quality: Quality | None,
    steps: _Steps,
) -> list[Battle]:
    battles: list[Battle] = []
    for part in parts:
        if quality:
            verdicts = _by_quality(part, quality)
        else:
            verdicts = _by_referee(context, rubric, part, steps)
        fought = [
            Battle(
                prompt_id=rows.text_id(row.prompt),
                prompt=row.prompt,
                ours=ours,
                theirs=theirs,
                verdicts=both,
                result=result(both),
                quality=quality(row.prompt, ours) if quality else None,
            )
            for row, ours, theirs, both in zip(
                part.rows[: part.asked], part.ours, part.theirs, verdicts, strict=True
            )
        ]
        rows.write(context.out / part_name("battles", part.number), fought)
        battles += fought
    return battles


def result(verdicts: tuple[Verdict, ...]) -> Literal["win", "tie", "loss"]:
    """Returns who won: a win or loss only if all orders of presentation agree on it."""
    if verdicts and all(verdict == "win" for verdict in verdicts):
        return "win"
    if verdicts and all(verdict == "loss" for verdict in verdicts):
        return "loss"
    return "tie"


def _by_quality(part: _Part, quality: Quality) -> list[tuple[Verdict, ...]]:
    verdicts: list[tuple[Verdict, ...]] = []
    for row, ours, theirs in zip(part.rows, part.ours, part.theirs, strict=False):
        a, b = quality(row.prompt, ours), quality(row.prompt, theirs)
        verdicts.append(("win" if a > b else "loss" if a < b else "tie",))
    return verdicts


def _by_referee(
    context: Context, rubric: rubrics.Rubric, part: _Part, steps: _Steps
) -> list[tuple[Verdict, ...]]:
    """Returns two verdicts a battle: ours shown first, then ours shown second."""
    config: Evaluate = context.config
    requests = []
    differing = [
        (row, ours, theirs)
        for row, ours, theirs in zip(part.rows, part.ours, part.theirs, strict=False)
        if ours.strip() != theirs.strip()
    ]
    for row, ours, theirs in differing:
        name = rows.text_id(row.prompt)
        for order, (first, second) in enumerate([(ours, theirs), (theirs, ours)]):
            requests.append(
                Request(
                    id=f"{name}-order-{order}",
                    prompt=judging.render_pair(rubric, row.prompt, first, second),
                    n=1,
                    seed_key=seed_key(config.seed, "evaluate/battle", f"{name}-{order}"),
                )
            )
    generator = steps.generator("referee")
    found = generator.generate(requests, config.judge_sampling, steps, context.stopping)
    texts = iter(one.text for [one] in found)
    return [
        (_OURS[judging.verdict(next(texts))], _THEIRS[judging.verdict(next(texts))])
        if ours.strip() != theirs.strip()
        else ("tie", "tie")
        for ours, theirs in zip(part.ours, part.theirs, strict=True)
    ]
