"""Stage ``evaluate``: how well a model judges, and whether it answers better than others.

Phases, each with one model in memory: the model judges people's ranked replies; the model and each
opponent answer the same prompts; the judge of the contest compares the answers, see ``contests``.
Where the task has a measure of its own, the model answers once more, greedily, and both are measured.
Opponents that are the same model are met once, and the battles are written down for each of them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from autodidact_contract.artifacts import PART_ITEMS, Mean, part_name, shard_parts
from autodidact_contract.records import Battle, RankedReplies, Ranking
from autodidact_contract.stages.judging import OPPONENTS, Evaluate
from autodidact_worker import generation
from autodidact_worker.generation import Generator, Request, seed_key
from autodidact_worker.judging import agreement, contests, judgement, rubrics
from autodidact_worker.judging.contests import Judge, Meeting, Quality, Verdict
from autodidact_worker.judging.rubrics import Rubric
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


@dataclass(kw_only=True)
class _Part:
    """Held-out prompts of one part file.

    Attributes:
        number: Number of the part.
        rows: Its rows.
        prompts: The first so many prompts, which the models answer.
        replies: Their replies, by the digest of the model.
    """

    number: int
    rows: list[RankedReplies]
    prompts: list[str]
    replies: dict[str, list[str]] = field(default_factory=dict)


def run(context: Context) -> Output:
    """Writes ``rankings-NNNNN.jsonl``, and ``battles-NNNNN.jsonl`` where there are opponents.

    Raises:
        UserError: A held-out row does not fit the model's context; no judge, or one that is of no
            use, see ``contests``.
        StageError: A server that judges is not there.
    """
    config: Evaluate = context.config
    rubric = rubrics.get(config.contest.rubric)
    quality = contests.oracle(config.contest)
    opponents = [name for name in OPPONENTS if name in context.inputs]
    judge = _judge(context) if opponents else None
    parts = list(_parts(context))
    steps = _Steps(context, parts, judge)
    rankings: list[Ranking] = []
    health: Counter[str] = Counter()
    for part in parts:
        ranked = _rank(context, rubric, part, steps, health)
        rows.write(context.out / part_name("rankings", part.number), ranked)
        rankings += ranked
    counts, figures = agreement.ranking_metrics(rankings, best=rubric.high)
    counts |= health
    if quality:
        figures["greedyQuality"] = _greedy_quality(context, parts, quality, steps)
    if quality or opponents:
        for model in ("model", *opponents):
            _answer(context, model, parts, steps)
        figures |= _reply_figures(context, parts, quality)
    if judge:
        battles = _fight(context, judge, opponents, parts, quality, steps)
        for opponent in opponents:
            met = [battle for battle in battles if battle.opponent == opponent]
            more, shares = agreement.battle_metrics(met, opponent)
            counts |= more
            figures |= shares
    return Output(counts=counts, metrics=figures, engine=steps.engine)


class _Steps:
    """Progress over all phases, in completions, and what samples in them."""

    def __init__(self, context: Context, parts: list[_Part], judge: Judge | None) -> None:
        config: Evaluate = context.config
        asked = sum(len(part.prompts) for part in parts)
        judged = sum(len(row.replies) for part in parts for row in part.rows) * config.votes
        models = {_identity(context, name) for name in ("model", *OPPONENTS)} - {""}
        oracle = config.contest.judge == "oracle"
        answered = len(models) + oracle if judge or oracle else 0
        fought = judge.orders * (len(models) - 1) if judge else 0
        self._context = context
        self._done, self._total = 0, judged + (answered + fought) * asked
        self.engine = ""

    def __call__(self, made: int) -> None:
        self._done += made
        self._context.progress(self._done, self._total)

    def generator(self, model: str) -> Generator:
        """Returns the generator on an input model, for the next phase."""
        found = generation.load(self._context.inputs[model].path)
        self.engine = found.engine
        return found


def _identity(context: Context, name: str) -> str:
    """Returns what two inputs have in common that are the same model; empty without the input."""
    artifact = context.inputs.get(name)
    return (artifact.digest or str(artifact.path)) if artifact else ""


def _judge(context: Context) -> Judge:
    config: Evaluate = context.config
    referee = context.inputs.get("referee")
    return contests.open_judge(config.contest, config.seed, referee.path if referee else None)


def _parts(context: Context) -> Iterator[_Part]:
    config: Evaluate = context.config
    held_out = rows.read(context.inputs["heldout"].path / rows.DATA, RankedReplies)
    for number in shard_parts(len(held_out), context.shard, context.shards):
        chunk = rows.chunk(held_out, number)
        asked = max(config.contest.prompts - number * PART_ITEMS, 0)
        yield _Part(number=number, rows=chunk, prompts=[row.prompt for row in chunk[:asked]])


def _rank(
    context: Context, rubric: Rubric, part: _Part, steps: _Steps, health: Counter[str]
) -> list[Ranking]:
    """Returns the judge's mean score of every reply; what its votes are like adds to the health."""
    config: Evaluate = context.config
    requests = [
        Request(
            id=f"{rows.text_id(row.prompt)}-{index}",
            prompt=judgement.render(rubric, row.prompt, reply),
            n=config.votes,
            seed_key=seed_key(config.seed, "evaluate/judge", f"{rows.text_id(row.prompt)}-{index}"),
        )
        for row in part.rows
        for index, reply in enumerate(row.replies)
    ]
    generator = steps.generator("model")
    found = generator.generate(requests, config.contest.judge_sampling, steps, context.stopping)
    scores: list[float | None] = []
    for completions in found:
        votes = [
            judgement.vote(rubric, one.text, one.finish, fractional=config.allow_fractional)
            for one in completions
        ]
        health.update(judgement.counts(votes))
        scores.append(judgement.mean_score(votes, config.min_valid))
    remaining = iter(scores)
    return [
        Ranking(
            prompt_id=rows.text_id(row.prompt),
            ranks=row.ranks,
            scores=tuple(next(remaining) for _ in row.replies),
        )
        for row in part.rows
    ]


def _answer(context: Context, model: str, parts: list[_Part], steps: _Steps) -> None:
    """Has an input model answer the prompts, unless the very same model did already."""
    config: Evaluate = context.config
    name = _identity(context, model)
    for part in parts:
        if name not in part.replies:
            generator = steps.generator(model)
            part.replies[name] = contests.answer(
                *(generator, part.prompts, config.contest, config.seed, steps, context.stopping)
            )


def _greedy_quality(context: Context, parts: list[_Part], quality: Quality, steps: _Steps) -> Mean:
    """Returns the quality of the model's most likely replies."""
    config: Evaluate = context.config
    greedy = config.contest.reply_sampling.model_copy(update={"temperature": 0.0})
    contest = config.contest.model_copy(update={"reply_sampling": greedy})
    values = [
        quality(prompt, reply)
        for part in parts
        for prompt, reply in zip(
            part.prompts,
            contests.answer(
                *(steps.generator("model"), part.prompts, contest, config.seed),
                *(steps, context.stopping),
            ),
            strict=True,
        )
    ]
    return Mean(total=sum(values), weight=float(len(values)))


def _reply_figures(
    context: Context, parts: list[_Part], quality: Quality | None
) -> dict[str, Mean]:
    """Returns length and quality of our replies; the ratio of lengths adds up over shards too."""
    ours, first = _identity(context, "model"), _identity(context, "first")
    replies = [
        (prompt, reply)
        for part in parts
        for prompt, reply in zip(part.prompts, part.replies[ours], strict=True)
    ]
    weight, characters = float(len(replies)), float(sum(len(reply) for _, reply in replies))
    figures = {"replyLength": Mean(total=characters, weight=weight)}
    if first:
        # The same number of replies on both sides: the ratio of the sums is that of the means.
        theirs = sum(len(reply) for part in parts for reply in part.replies[first])
        figures["lengthRatio"] = Mean(total=characters, weight=float(theirs))
    if quality:
        values = [quality(prompt, reply) for prompt, reply in replies]
        figures["quality"] = Mean(total=sum(values), weight=weight)
    return figures


def _fight(
    context: Context,
    judge: Judge,
    opponents: list[str],
    parts: list[_Part],
    quality: Quality | None,
    steps: _Steps,
) -> list[Battle]:
    """Returns the battles with every opponent; each part's are in one file, by opponent."""
    battles: list[Battle] = []
    for part in parts:
        fought: list[Battle] = []
        known: dict[str, list[tuple[Verdict, ...]]] = {}
        for opponent in opponents:
            whom, meetings = _identity(context, opponent), _meetings(context, part, opponent)
            if whom not in known:
                known[whom] = judge.compare(meetings, steps, context.stopping)
            fought += [
                Battle(
                    opponent=opponent,
                    prompt_id=meeting.name,
                    prompt=meeting.prompt,
                    ours=meeting.ours,
                    theirs=meeting.theirs,
                    verdicts=verdicts,
                    result=contests.result(verdicts),
                    quality=quality(meeting.prompt, meeting.ours) if quality else None,
                )
                for meeting, verdicts in zip(meetings, known[whom], strict=True)
            ]
        rows.write(context.out / part_name("battles", part.number), fought)
        battles += fought
    return battles


def _meetings(context: Context, part: _Part, opponent: str) -> list[Meeting]:
    ours = part.replies[_identity(context, "model")]
    theirs = part.replies[_identity(context, opponent)]
    return [
        Meeting(prompt=prompt, ours=our, theirs=their)
        for prompt, our, their in zip(part.prompts, ours, theirs, strict=True)
    ]
