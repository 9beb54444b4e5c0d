"""Stage ``build-pairs``: best and worst reply of each prompt, and what was dropped. No torch."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from autodidact_contract.artifacts import part_name
from autodidact_contract.records import AnswerSample, Judged
from autodidact_contract.stages.data import BuildPairs
from autodidact_worker.curation import pairs
from autodidact_worker.curation.pairs import Pairs
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output

_Prompts = dict[str, list[Judged]]


def run(context: Context[BuildPairs]) -> Output:
    """Writes ``pairs-NNNNN.jsonl``. No pair at all is no error here: the run's gate decides.

    Inputs: judged, or samples; anchors and judged-by-previous where they are wanted, made of the
    same prompts, so that the parts of one number belong together.

    Counts: ``prompts``, ``pairs`` and ``dropped-<reason>``; ``anchored``, pairs whose loser is
    M1's; ``length-controlled``, pairs that ``rho`` and ``max_chosen_length`` made other ones; with
    ``consistency`` also ``undefined-agreement``, prompts without Kendall's tau.

    Metrics: means over the pairs; ``score`` over the replies; with ``consistency`` that of the
    prompts, which is also written to every pair. Where tau is defined nowhere, nothing speaks
    against the pairs: they count in full.
    """
    found = Pairs(context.config)
    for number, prompts in _parts(context):
        anchors = _anchors(context, number)
        previous = _beside(context, "judged-by-previous", number)
        for name, replies in prompts.items():
            found.add(replies, anchors.get(name, ()))
            if context.config.consistency:
                found.compare(replies, previous.get(name, ()))
    rows.write_parts(context.out, "pairs", found.weighted())
    context.progress(found.counts["prompts"], found.counts["prompts"])
    return Output(counts=found.counts, metrics=found.metrics())


def _parts(context: Context[BuildPairs]) -> Iterator[tuple[int, _Prompts]]:
    """Yields the replies of each part by prompt; of answers to questions the sampled ones."""
    if "samples" not in context.inputs:
        judged = rows.read_parts(context.inputs["judged"].path, "judged", Judged)
        yield from ((number, _by_prompt(part)) for number, part in judged)
        return
    samples = rows.read_parts(context.inputs["samples"].path, "samples", AnswerSample)
    for number, part in samples:
        yield number, _by_prompt([pairs.of_sample(row) for row in part if row.index >= 0])


def _anchors(context: Context[BuildPairs], number: int) -> _Prompts:
    """Returns M1's replies under ids of their own: M(t)'s have the same ones."""
    return {
        name: [row.model_copy(update={"id": pairs.ANCHOR + row.id}) for row in replies]
        for name, replies in _beside(context, "anchors", number).items()
    }


def _beside(context: Context[BuildPairs], name: str, number: int) -> _Prompts:
    """Returns the replies in the same part of another input by prompt; none without it."""
    if name not in context.inputs:
        return {}
    path = context.inputs[name].path / part_name("judged", number)
    return _by_prompt(rows.read(path, Judged, empty=True))


def _by_prompt(judged: Sequence[Judged]) -> _Prompts:
    return {name: list(group) for name, group in groupby(judged, key=lambda row: row.prompt_id)}
