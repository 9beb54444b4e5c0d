"""Stage ``generate-prompts``: new prompts in the manner of the seed ones, until there are enough.

Works in rounds. A round shows demonstrations from the pools as they are, samples one continuation a
call in batches, and then takes the new prompts one by one, in order of their calls.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field

from autodidact_contract.records import Instruction, Prompt
from autodidact_contract.stages.data import GeneratePrompts
from autodidact_worker import generation
from autodidact_worker.curation import prompts
from autodidact_worker.generation import Completion, Generator, Request, seed_key
from autodidact_worker.judging import rubrics
from autodidact_worker.judging.rubrics import Rubric
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context, Output

log = logging.getLogger(__name__)

ROUND = 512
"""Calls in a round at most; new prompts become demonstrations in the next round."""


@dataclass(kw_only=True)
class _Pools:
    """What is shown and what new prompts must differ from.

    Attributes:
        config: Filters and limits.
        seeds: Seed prompts that pass the filters, and so may be shown.
        generated: All accepted prompts, earlier iterations first.
        novelty: Everything seen.
        accepted: What this stage accepted.
        counts: Completions by what became of them.
    """

    config: GeneratePrompts
    seeds: list[str]
    generated: list[str]
    novelty: prompts.Novelty
    accepted: list[Prompt] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def missing(self) -> int:
        return self.config.count - len(self.accepted)

    def offer(self, rubric: Rubric, call: prompts.Call, completion: Completion) -> None:
        """Accepts the prompt in a completion, or counts why not."""
        text = rubric.cut(completion.text, completion.finish == "stop")
        reason = "truncated" if text is None else prompts.rejection(text, self.config)
        rouge = 0.0
        if text is not None and reason is None:
            rouge = self.novelty.rouge_max(text)
            reason = "similar" if rouge > self.config.max_rouge else None
            if text in self.novelty:
                reason = "duplicate"
        if text is None or reason:
            self.counts[f"rejected-{reason}"] += 1
            return
        self.accepted.append(prompts.accepted(text, call.demonstrations, rouge))
        self.generated.append(text)
        self.novelty.add(text)


def run(context: Context) -> Output:
    """Writes ``prompts-NNNNN.jsonl``: at most ``count`` rows, fewer when attempts run out.

    Raises:
        UserError: ``NoPrompts``: not one was accepted; ``TooFewSeeds``.
    """
    config: GeneratePrompts = context.config
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
        raise UserError("NoPrompts", _explain(pools.counts, attempts))
    rows.write_parts(context.out, "prompts", pools.accepted)
    figures, metrics = prompts.diversity(pools.accepted)
    counts = {"accepted": len(pools.accepted), **pools.counts, **figures}
    return Output(counts=counts, metrics=metrics, engine=generator.engine)


def _pools(context: Context) -> _Pools:
    config: GeneratePrompts = context.config
    seeds = rows.read(context.inputs["instructions"].path / rows.DATA, Instruction)
    texts = list(dict.fromkeys(row.prompt for row in seeds))
    earlier = [
        row.prompt
        for name in sorted(context.inputs)
        if name.startswith("accepted-")
        for _, part in rows.read_parts(context.inputs[name].path, "prompts", Prompt)
        for row in part
    ]
    return _Pools(
        config=config,
        seeds=[text for text in texts if prompts.rejection(text, config) is None],
        generated=earlier,
        novelty=prompts.Novelty([*texts, *earlier]),
    )


def _round(
    context: Context,
    generator: Generator,
    calls: list[prompts.Call],
    first: int,
    counts: Counter[str],
) -> list[tuple[prompts.Call, Completion]]:
    """Samples one continuation for each call that fits the model's context."""
    config: GeneratePrompts = context.config
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


def _explain(counts: Counter[str], attempts: int) -> str:
    reasons = [(name, n) for name, n in counts.most_common() if n and name != "attempted"]
    shown = ", ".join(f"{n} {name.replace('-', ' ', 1)}" for name, n in reasons[:3])
    return (
        f"none of {attempts} attempts gave an acceptable prompt ({shown}); use a stronger prompt "
        "writer, more varied instructions, or wider filters in prompts"
    )
