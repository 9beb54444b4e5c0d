"""Stage ``build-pairs``: best and worst reply of each prompt, and what was dropped. No torch."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from autodidact_contract.artifacts import Mean, part_name
from autodidact_contract.records import AnswerSample, Judged, Pair
from autodidact_contract.stages.data import BuildPairs
from autodidact_worker.curation import pairs
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.frame import Context, Output

_ANCHOR = "first-"
"""How the ids of M1's replies begin."""

_Prompts = dict[str, list[Judged]]


def run(context: Context) -> Output:
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
    found = _Pairs(context.config)
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


class _Pairs:
    """The pairs so far, and what the stage says of them."""

    def __init__(self, config: BuildPairs) -> None:
        self.counts: Counter[str] = Counter(prompts=0, pairs=0, anchored=0)
        self.counts["length-controlled"] = 0
        self.counts.update({f"dropped-{reason}": 0 for reason in pairs.DROPS})
        self._config = config
        self._plain = config.model_copy(update={"rho": None, "max_chosen_length": None})
        self._pairs: list[Pair] = []
        self._scores: list[float] = []
        self._agreements: list[float] = []

    def add(self, replies: Sequence[Judged], anchors: Sequence[Judged]) -> None:
        """Pairs the replies to one prompt."""
        self.counts["prompts"] += 1
        self._scores += [row.score for row in replies if row.score is not None]
        found = pairs.pair(replies, self._config, anchors)
        if not isinstance(found, Pair):
            self.counts[f"dropped-{found}"] += 1
            return
        self._pairs.append(found)
        self.counts["pairs"] += 1
        self.counts["anchored"] += found.rejected_id.startswith(_ANCHOR)
        self.counts["length-controlled"] += found != pairs.pair(replies, self._plain, anchors)

    def compare(self, ours: Sequence[Judged], theirs: Sequence[Judged]) -> None:
        """Compares two models' scores of the replies to one prompt."""
        agreement = pairs.agreement(ours, theirs)
        self._agreements += [] if agreement is None else [agreement]
        self.counts["undefined-agreement"] += agreement is None

    def weighted(self) -> list[Pair]:
        """Returns the pairs with the consistency of all prompts."""
        share = _mean(self._agreements).value
        return [
            pair.model_copy(update={"consistency": 1.0 if share is None else share})
            for pair in self._pairs
        ]

    def metrics(self) -> dict[str, Mean]:
        """Returns the means."""
        kept = self._pairs
        found = {
            "gap": _mean([pair.chosen_score - pair.rejected_score for pair in kept]),
            "chosenScore": _mean([pair.chosen_score for pair in kept]),
            "rejectedScore": _mean([pair.rejected_score for pair in kept]),
            "chosenLength": _mean([float(len(pair.chosen)) for pair in kept]),
            "rejectedLength": _mean([float(len(pair.rejected)) for pair in kept]),
            "score": _mean(self._scores),
        }
        if self._config.consistency:
            found["consistency"] = _mean(self._agreements)
        return found


def _mean(values: Sequence[float]) -> Mean:
    return Mean(total=sum(values), weight=float(len(values)))


def _parts(context: Context) -> Iterator[tuple[int, _Prompts]]:
    """Yields the replies of each part by prompt; of answers to questions the sampled ones."""
    if "samples" not in context.inputs:
        judged = rows.read_parts(context.inputs["judged"].path, "judged", Judged)
        yield from ((number, _by_prompt(part)) for number, part in judged)
        return
    samples = rows.read_parts(context.inputs["samples"].path, "samples", AnswerSample)
    for number, part in samples:
        yield number, _by_prompt([pairs.of_sample(row) for row in part if row.index >= 0])


def _anchors(context: Context, number: int) -> _Prompts:
    """Returns M1's replies under ids of their own: M(t)'s have the same ones."""
    return {
        name: [row.model_copy(update={"id": _ANCHOR + row.id}) for row in replies]
        for name, replies in _beside(context, "anchors", number).items()
    }


def _beside(context: Context, name: str, number: int) -> _Prompts:
    """Returns the replies in the same part of another input by prompt; none without it."""
    if name not in context.inputs:
        return {}
    path = context.inputs[name].path / part_name("judged", number)
    return _by_prompt(rows.read(path, Judged, empty=True))


def _by_prompt(judged: Sequence[Judged]) -> _Prompts:
    return {name: list(group) for name, group in groupby(judged, key=lambda row: row.prompt_id)}
