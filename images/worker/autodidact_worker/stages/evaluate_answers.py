"""Stage ``evaluate-answers``: greedy and majority-vote accuracy on a split. No torch."""

from collections import Counter
from itertools import groupby

from autodidact_contract.artifacts import Mean, part_name
from autodidact_contract.records import AnswerSample, Verdict
from autodidact_contract.stages.answers import EvaluateAnswers
from autodidact_worker.answers import majority
from autodidact_worker.answers.grading import Grader
from autodidact_worker.answers.verdicts import verdict
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
