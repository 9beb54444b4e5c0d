"""What happened in a Self-Rewarding run, in words."""

from autodidact_worker.report import text
from autodidact_worker.report.selfreward.figures import Figures, Model


def headline(figures: Figures) -> list[str]:
    """Returns what happened, in a few sentences that claim no more than the figures say."""
    sentences = [_outcome(figures)]
    measured = [model for model in figures.models if model.quality is not None]
    if len(measured) > 1:
        first, last = measured[0], measured[-1]
        sentences.append(
            f"Quality by the task's own measure went from {text.number(first.quality)} "
            f"({first.name}) to {text.number(last.quality)} ({last.name})."
        )
    fought = [model for model in figures.models if model.decided]
    if fought:
        sentences.append(_verdict(fought[-1]))
    judges = [m for m in figures.models if m.judge.get("pairwiseAccuracy") is not None]
    if judges:
        steps = [f"{text.percent(m.judge['pairwiseAccuracy'])} ({m.name})" for m in judges]
        ends = " to ".join(dict.fromkeys([steps[0], steps[-1]]))
        sentences.append(f"Agreement of the judge with people's order of replies: {ends}.")
    return sentences


def _outcome(figures: Figures) -> str:
    trained = [model for model in figures.models if model.digest]
    if not trained:
        return "No model was trained: the run ended before its first training finished."
    last = trained[-1]
    unfinished = [one.number for one in figures.rounds if one.number >= last.number]
    if unfinished:
        return (
            f"The last model is {last.name}. Round {unfinished[0]} was begun and made no model: "
            f"it ended after {_last_stage(figures, unfinished[0])}."
        )
    rounds = last.number - 1
    kind = "SFT on its own best replies" if last.stage.startswith("train-positive") else "DPO"
    done = f"{rounds} round{'s'[: rounds != 1]} of {kind}"
    if origin := figures.models[0].origin:
        return f"The last model is {last.name}, after {done} from {text.visible(origin)}."
    return f"The last model is {last.name}, after SFT and {done}."


def _last_stage(figures: Figures, number: int) -> str:
    names = [name for name in figures.stages if name.endswith(f"-{number}")]
    made = [name for name in names if not name.startswith("evaluate")]
    return made[-1] if made else "its start"


def _verdict(model: Model) -> str:
    decided, wins, battles = model.decided, model.wins, model.battles
    assert decided
    assert wins  # there are battles, or none were decided
    if decided.low > 0.5:
        meaning = "more than chance explains"
    elif decided.high < 0.5:
        meaning = "it answers worse than its predecessor"
    else:
        meaning = "not distinguishable from chance"
    return (
        f"{model.name} won {battles['win']}, drew {battles['tie']} and lost {battles['loss']} of "
        f"{wins.n} against {model.previous}: of the decided ones {text.percent(decided.share)} "
        f"(95\u202f% interval {text.percent(decided.low)} to {text.percent(decided.high)}), {meaning}."
    )
