"""What happened in a ReFT run, in words."""

from autodidact_worker.report import text
from autodidact_worker.report.reft.figures import WARM_UP, Arm, Figures
from autodidact_worker.report.shares import Interval, Paired

CHANCE = 0.05
"""p-value below which a difference is said to be more than chance."""


def names(figures: Figures) -> dict[str, str]:
    """Returns what the page calls the strategies that were measured."""
    k = figures.samples
    shown = {"greedy": "greedy", "vote": f"vote@{k}", "rerank": f"rerank@{k}"}
    return {name: shown[name] for name in figures.strategies}


def headline(figures: Figures) -> list[str]:
    """Returns what happened, in a few sentences that claim no more than the figures say."""
    reft = figures.reft
    if reft is None or "greedy" not in reft.accuracy:
        return [_unfinished(figures)]
    sentences = [f"{reft.title} answers {_score(reft.accuracy['greedy'])}."]
    others = [arm for arm in figures.arms if arm is not reft]
    compared = [(arm, pair) for arm in others if (pair := reft.against(arm, "greedy"))]
    sentences += [_compared(arm, pair) for arm, pair in compared]
    more = [
        f"{text.percent(reft.accuracy[name].share)} by {shown}"
        for name, shown in names(figures).items()
        if name != "greedy" and name in reft.accuracy
    ]
    if more:
        sentences.append(f"With several answers to a question it has {' and '.join(more)}.")
    return sentences


def warnings(figures: Figures) -> list[str]:
    """Returns what makes the figures doubtful."""
    if not figures.overlap:
        return []
    asked = max((arm.questions for arm in figures.arms), default=0)
    of = f" of {text.number(asked)}" if asked else ""
    counted = f"{text.number(figures.overlap)}{of} test questions"
    advice = "accuracies on them say nothing about new questions"
    return [f"{counted} are in the training split as well: {advice}."]


def _unfinished(figures: Figures) -> str:
    reft, last = figures.reft, figures.stages[-1]
    if reft is not None and reft.digest:
        return f"{reft.title} was trained but not measured: the run ended after {last}."
    warm_up = figures.warm_up
    if warm_up is None or not warm_up.digest:
        return f"No model was trained: the run ended after {last}."
    greedy = warm_up.accuracy.get("greedy")
    measured = f", which answers {_score(greedy)}" if greedy else ""
    return f"No model was reinforced: the run ended with the warm-up{measured}."


def _score(found: Interval) -> str:
    return (
        f"{text.percent(found.share)} of {text.number(found.n)} test questions right "
        f"(95\u202f% interval {text.percent(found.low)} to {text.percent(found.high)})"
    )


def _compared(other: Arm, pair: Paired) -> str:
    low, high = pair.interval
    if pair.p >= CHANCE:
        meaning = "not distinguishable from chance"
    elif pair.difference > 0:
        meaning = "better"
    else:
        meaning = "worse"
    theirs = other.accuracy["greedy"].share
    return (
        f"Against {_phrase(other)} ({text.percent(theirs)}): {text.points(pair.difference)} "
        f"points ({text.points(low)} to {text.points(high)}), {meaning}, p {text.p_value(pair.p)}."
    )


def _phrase(arm: Arm) -> str:
    """Returns what an arm is called inside a sentence; acronyms stay as they are."""
    title = arm.title
    called = title if title[:2].isupper() else title[0].lower() + title[1:]
    return f"the {called}" if arm.name == WARM_UP else called
