"""Stage ``implicit-reward``: DPO's own reward of replies instead of a judge's score.

Source: arXiv 2305.18290 section 4 (equation 5, without the part that depends on the prompt alone);
arXiv 2410.12735 section 3 ranks by it.
"""

from autodidact_contract.artifacts import part_name
from autodidact_contract.records import Judged, Response
from autodidact_contract.stages.judging import ImplicitReward
from autodidact_worker.judging.scores import Scores
from autodidact_worker.models import likelihood, loading
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context, Output


def run(context: Context[ImplicitReward]) -> Output:
    """Writes ``judged-NNNNN.jsonl``: every reply with its reward as the score, and without votes.

    The reward is beta (log p - log p of the reference), in nats and of either sign; log p is the
    sum over the reply's tokens with its end token, where it ended by itself. What is too long for a
    model has no score.

    Inputs: model, reference, responses. One model is in memory at a time.

    Raises:
        StoppedError: Between two part files.
        UserError: ``InvalidData``, ``InvalidModel`` or ``UnsafeModel``.
    """
    config = context.config
    given = context.inputs["responses"].path
    parts = list(rows.read_parts(given, "responses", Response, context.shard, context.shards))
    ours = _log_probs(context, "model", [replies for _, replies in parts])
    theirs = _log_probs(context, "reference", [replies for _, replies in parts])
    scores = Scores()
    for (number, replies), policy, reference in zip(parts, ours, theirs, strict=True):
        judged = [
            _judged(reply, None if p is None or q is None else config.beta * (p - q))
            for reply, p, q in zip(replies, policy, reference, strict=True)
        ]
        rows.write(context.out / part_name("judged", number), judged)
        scores.add(judged)
    scores.counts["skipped-too-long"] = scores.counts["unscored"]
    return Output(counts=scores.counts, metrics=scores.metrics())


def _log_probs(
    context: Context[ImplicitReward], name: str, parts: list[list[Response]]
) -> list[list[float | None]]:
    """Returns the log-probability of each reply of each part, None where it does not fit."""
    if not parts:
        return []
    model, tokenizer = loading.load(context.inputs[name].path)
    context_tokens = loading.context_tokens(model)
    found = []
    for number, replies in enumerate(parts):
        if context.stopping():
            raise StoppedError
        encoded = [loading.encode(tokenizer, reply) for reply in replies]
        fits = [
            bool(reply) and (context_tokens is None or len(prompt) + len(reply) <= context_tokens)
            for prompt, reply in encoded
        ]
        kept = [tokens for tokens, fit in zip(encoded, fits, strict=True) if fit]
        values = iter(likelihood.log_probs(model, kept, tokenizer.pad_token_id))
        found.append([next(values) if fit else None for fit in fits])
        done = number + 1 + (len(parts) if name == "reference" else 0)
        context.progress(done, 2 * len(parts))
    return found


def _judged(reply: Response, score: float | None) -> Judged:
    return Judged(
        id=reply.id,
        prompt_id=reply.prompt_id,
        prompt=reply.prompt,
        text=reply.text,
        finish=reply.finish,
        votes=(),
        score=score,
    )
