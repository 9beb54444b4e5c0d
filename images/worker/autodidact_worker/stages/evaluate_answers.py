"""Stage ``evaluate-answers``: greedy and majority-vote accuracy on a split. No torch."""

from collections import Counter
from itertools import groupby

from autodidact_contract.artifacts import Mean, part_name
from autodidact_contract.records import AnswerSample, Verdict
from autodidact_contract.stages.answers import Answers, EvaluateAnswers
from autodidact_worker.answers import majority
from autodidact_worker.answers.grading import Grader
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[EvaluateAnswers]) -> Output:
    """Writes ``verdicts-NNNNN.jsonl``, one row a question, in parts as the samples have them.

    Counts: ``questions``; ``greedy`` and ``votes``, those with such an answer; ``greedy-correct``
    and ``vote-correct``; ``valid``, samples that could be read. Metrics: ``greedyAccuracy``,
    ``voteAccuracy``, and ``voteAccuracy@k`` of the first k = 1, 2, 4, ... samples and of all.
    """
    counts = Counter(dict.fromkeys(COUNTS, 0))
    curve: Counter[int] = Counter()
    ks: tuple[int, ...] = ()
    # Votes compare values that were read already: no program runs.
    rules = context.config.answers.model_copy(update={"reasoning": "language"})
    with Grader(rules) as grader:
        same = grader.equal if rules.latex else None
        for number, samples in rows.read_parts(
            context.inputs["samples"].path, "samples", AnswerSample, context.shard, context.shards
        ):
            verdicts = [
                verdict(list(group), rules, same)
                for _, group in groupby(samples, key=lambda row: row.question_id)
            ]
            rows.write(context.out / part_name("verdicts", number), verdicts)
            for row in verdicts:
                _count(counts, row)
                ks = majority.checkpoints(row.samples)
                curve.update(k for k, right in zip(ks, row.curve, strict=True) if right)
            context.progress(counts["questions"], counts["questions"])
    return Output(counts=counts, metrics=_metrics(counts, {k: curve[k] for k in ks}))


COUNTS = ("questions", "greedy", "greedy-correct", "votes", "vote-correct", "valid")


def verdict(
    samples: list[AnswerSample], rules: Answers, same: majority.Equality | None = None
) -> Verdict:
    """Returns what became of a question.

    Args:
        samples: Its answers by index; a greedy one comes first and does not vote.
        rules: Whose equality makes groups of votes.
        same: An equality to use instead.
    """
    greedy = next((row for row in samples if row.index < 0), None)
    voters = [row for row in samples if row.index >= 0]
    values = [row.value for row in voters]
    right = {row.value: row.correct for row in voters}
    vote, votes = majority.majority(values, rules, same)
    gold = samples[0].gold
    ks = majority.checkpoints(len(voters))
    curve = majority.vote_curve([values], [gold], ks, rules, same)
    return Verdict(
        question_id=samples[0].question_id,
        gold=gold,
        greedy=greedy.value if greedy else None,
        greedy_correct=greedy.correct if greedy else None,
        vote=vote,
        # The vote is somebody's value, which was graded.
        vote_correct=vote is not None and right[vote] if voters else None,
        votes=votes,
        valid=sum(majority.can_vote(value, rules) for value in values),
        samples=len(voters),
        curve=tuple(bool(curve[k]) for k in ks),
    )


def _count(counts: Counter[str], row: Verdict) -> None:
    counts["questions"] += 1
    counts["greedy"] += row.greedy_correct is not None
    counts["greedy-correct"] += bool(row.greedy_correct)
    counts["votes"] += row.samples > 0
    counts["vote-correct"] += bool(row.vote_correct)
    counts["valid"] += row.valid


def _metrics(counts: Counter[str], curve: dict[int, int]) -> dict[str, Mean]:
    def share(right: int, of: int) -> Mean:
        return Mean(total=float(right), weight=float(of))

    return {
        "greedyAccuracy": share(counts["greedy-correct"], counts["greedy"]),
        "voteAccuracy": share(counts["vote-correct"], counts["votes"]),
        **{f"voteAccuracy@{k}": share(right, counts["votes"]) for k, right in curve.items()},
    }
