"""Stage ``generate-responses``: N sampled replies to each prompt."""

from collections import Counter

from autodidact_contract.artifacts import Mean, part_name
from autodidact_contract.records import Prompt, Response
from autodidact_contract.stages.judging import GenerateResponses
from autodidact_worker import generation
from autodidact_worker.generation import Generator, Request, seed_key
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.runtime.progress import Ticks


def run(context: Context[GenerateResponses]) -> Output:
    """Writes ``responses-NNNNN.jsonl``; prompts too long for the model have no rows."""
    parts = list(
        rows.read_parts(
            context.inputs["prompts"].path, "prompts", Prompt, context.shard, context.shards
        )
    )
    total = sum(len(prompts) for _, prompts in parts) * context.config.per_prompt
    counts = Counter(prompts=0, responses=0, truncated=0, tokens=0)
    counts["skipped-too-long"] = 0
    characters = 0
    tick = Ticks(context.progress, total)
    if parts:
        generator = generation.load(context.inputs["model"].path)
    for number, prompts in parts:
        tick.done = counts["responses"] + counts["skipped-too-long"] * context.config.per_prompt
        written = _replies(context, generator, prompts, tick)
        rows.write(context.out / part_name("responses", number), written)
        answered = len(written) // context.config.per_prompt
        counts["prompts"] += answered
        counts["skipped-too-long"] += len(prompts) - answered
        counts["responses"] += len(written)
        counts["truncated"] += sum(row.finish == "length" for row in written)
        counts["tokens"] += sum(row.tokens for row in written)
        characters += sum(len(row.text) for row in written)
    weight = float(counts["responses"])
    metrics = {
        "tokens": Mean(total=float(counts["tokens"]), weight=weight),
        "characters": Mean(total=float(characters), weight=weight),
    }
    return Output(counts=counts, metrics=metrics, engine=generator.engine if parts else "")


def _replies(
    context: Context[GenerateResponses],
    generator: Generator,
    prompts: list[Prompt],
    tick: Ticks,
) -> list[Response]:
    """Returns the replies to the prompts of one part."""
    config = context.config
    fitting = [row for row in prompts if generator.fits(row.prompt, config.sampling)]
    requests = [
        Request(
            id=row.id,
            prompt=row.prompt,
            n=config.per_prompt,
            seed_key=seed_key(config.seed, config.stage, row.id),
        )
        for row in fitting
    ]
    found = generator.generate(requests, config.sampling, tick, context.stopping)
    return [
        Response(
            id=f"{row.id}-{index}",
            prompt_id=row.id,
            prompt=row.prompt,
            index=index,
            text=completion.text,
            tokens=completion.tokens,
            finish=completion.finish,
        )
        for row, completions in zip(fitting, found, strict=True)
        for index, completion in enumerate(completions)
    ]
