import io

from rich.console import Console

from autodidact_contract.api.status import Iteration, RunStatus, StageStatus
from autodidact_operator.local.terminal import LiveView, PlainView, results, view
from autodidact_operator.plan.types import Event

SELF_REWARD = (
    Iteration(iteration=0, name="M1", quality=3.314, judge_accuracy=0.8125),
    Iteration(iteration=1, name="M2", pairs=532, mean_score=4.2, quality=4.76, win_rate=0.55),
)


REFT = (
    Iteration(iteration=0, name="warm-up", accuracy=0.412, vote_accuracy=0.618),
    Iteration(iteration=1, name="sft", accuracy=0.4),
    Iteration(iteration=1, name="ppo", accuracy=0.974, vote_accuracy=0.984, rerank_accuracy=0.998),
)


def _console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=120, force_terminal=terminal)


def _printed(*lines: Iteration) -> list[list[str]]:
    """Returns the words of each line of the table of results."""
    console = _console()
    console.print(results(lines))
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_self_rewarding_models_have_their_columns() -> None:
    """Rounds show pairs, scores, quality, battles and the judge, and no accuracy."""
    head, first, second = _printed(*SELF_REWARD)
    assert " ".join(head) == "Model Pairs Mean score Oracle quality Win rate Judge accuracy"
    assert first == ["M1", "3.31", "81.2%"]
    assert second == ["M2", "532", "4.20", "4.76", "55%"]


def test_reft_models_have_their_columns() -> None:
    """Arms show the three accuracies in per cent, and what was not measured is empty."""
    assert _printed(*REFT) == [
        ["Model", "Greedy", "Vote", "Rerank"],
        ["warm-up", "41.2%", "61.8%"],
        ["sft", "40.0%"],
        ["ppo", "97.4%", "98.4%", "99.8%"],
    ]


def test_figures_that_no_model_has_are_left_out() -> None:
    """Without voting and reranking there are no columns for them; a zero is a figure."""
    assert _printed(Iteration(iteration=0, name="warm-up", accuracy=0.0)) == [
        ["Model", "Greedy"],
        ["warm-up", "0.0%"],
    ]


def test_where_output_goes_decides_the_view() -> None:
    """A terminal gets the live view, a file plain lines."""
    assert isinstance(view(_console(terminal=True), "run"), LiveView)
    assert isinstance(view(_console(), "run"), PlainView)


STATUS = RunStatus(
    phase="Running",
    iteration="1/1",
    stage="train-reft",
    progress="42%",
    stages=(StageStatus(name="train-reft", phase="Running"),),
    history=REFT[:1],
)


def test_plain_lines_say_what_changed_once() -> None:
    """A status that shows nothing new prints nothing; warnings are printed with their reason."""
    console = _console()
    warned = Event(type="Warning", reason="SplitsOverlap", message="7 questions")
    with PlainView(console, "toy") as show:
        show(STATUS, ())
        show(STATUS.model_copy(update={"progress": "47%"}), (warned,))
        show(STATUS.model_copy(update={"progress": "51%"}), ())
    lines = console.file.getvalue().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "toy Running iteration 1/1 train-reft 40%",
        "toy Warning: SplitsOverlap: 7 questions",
        "toy Running iteration 1/1 train-reft 50%",
    ]


def test_live_view_shows_stages_and_models() -> None:
    """The screen has the stage at work with its progress, and the models so far."""
    console = _console(terminal=True)
    with LiveView(console, "toy") as show:
        show(STATUS, ())
    screen = console.file.getvalue()
    for words in ("train-reft", "42%", "warm-up", "41.2%"):
        assert words in screen
