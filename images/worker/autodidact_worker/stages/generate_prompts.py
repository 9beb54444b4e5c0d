"""Stage ``generate-prompts``: new prompts in the manner of the seed ones, until there are enough.

Works in rounds. A round shows demonstrations from the pools as they are, samples one continuation a
call in batches, and then takes the new prompts one by one, in order of their calls.
"""

import logging
from collections import Counter

from autodidact_contract.records import Instruction, Prompt
from autodidact_contract.stages.data import GeneratePrompts
from autodidact_worker import generation
from autodidact_worker.curation import prompts
from autodidact_worker.curation.pools import Pools
from autodidact_worker.generation import Completion, Generator, Request, seed_key
from autodidact_worker.judging import rubrics
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output

log = logging.getLogger(__name__)

ROUND = 512
"""Calls in a round at most; new prompts become demonstrations in the next round."""


def run(context: Context[GeneratePrompts]) -> Output:
    """Writes ``prompts-NNNNN.jsonl``: at most ``count`` rows, fewer when attempts run out.

    Raises:
        UserError: ``NoPrompts``: not one was accepted; ``TooFewSeeds``.
    """
    config = context.config
    rubric = rubrics.get(config.rubric)
    pools = _pools(context)
    generator = generation.load(context.inputs["model"].path)
    budget = config.attempts_per_prompt * config.count
    attempts = 0
    while pools.missing and attempts < budget:
        size = min(max(2 * pools.missing, 16), ROUND, budget - attempts)
        calls = [
            prompts.call(rubric, config, pools.seeds, pools.generated, number)
            for number in range(attempts, attempts + size)
        ]
        for call, completion in _round(context, generator, calls, attempts, pools.counts):
            if pools.missing:
                pools.counts["attempted"] += 1
                pools.offer(rubric, call, completion)
        attempts += size
        context.progress(len(pools.accepted), config.count, attempts=attempts)
        log.info("round attempts=%d accepted=%d of=%d", attempts, len(pools.accepted), config.count)
    if not pools.accepted:
        raise UserError("NoPrompts", pools.explain(attempts))
    rows.write_parts(context.out, "prompts", pools.accepted)
    figures, metrics = prompts.diversity(pools.accepted)
    counts = {"accepted": len(pools.accepted), **pools.counts, **figures}
    return Output(counts=counts, metrics=metrics, engine=generator.engine)


def _pools(context: Context[GeneratePrompts]) -> Pools:
    config = context.config
    seeds = rows.read(context.inputs["instructions"].path / rows.DATA, Instruction)
    texts = list(dict.fromkeys(row.prompt for row in seeds))
    earlier = [
        row.prompt
        for name in sorted(context.inputs)
        if name.startswith("accepted-")
        for _, part in rows.read_parts(context.inputs[name].path, "prompts", Prompt)
        for row in part
    ]
    return Pools(
        config=config,
        seeds=[text for text in texts if prompts.rejection(text, config) is None],
        generated=earlier,
        novelty=prompts.Novelty([*texts, *earlier]),
    )


def _round(
    context: Context[GeneratePrompts],
    generator: Generator,
    calls: list[prompts.Call],
    first: int,
    counts: Counter[str],
) -> list[tuple[prompts.Call, Completion]]:
    """Samples one continuation for each call that fits the model's context."""
    config = context.config
    fitting = [
        (number, call)
        for number, call in enumerate(calls, first)
        if generator.fits(call.prompt, config.sampling)
    ]
    counts["skipped-too-long"] += len(calls) - len(fitting)
    requests = [
        Request(
            id=f"call-{number}",
            prompt=call.prompt,
            n=1,
            seed_key=seed_key(config.seed, config.stage, str(number)),
        )
        for number, call in fitting
    ]
    found = generator.generate(requests, config.sampling, stopping=context.stopping)
    return [(call, one) for (_, call), [one] in zip(fitting, found, strict=True)]
