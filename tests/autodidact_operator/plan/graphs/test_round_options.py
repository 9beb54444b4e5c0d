"""What options of a SelfRewardRun change in a round."""

from support.builders import graph, spec
from support.specs import OPTIONS


def kinds(name: str) -> set[str]:
    """The kinds of stages of a run with an option."""
    return {stage.config.stage for stage in graph(OPTIONS[name]).stages}


def test_the_plain_round_has_none_of_them() -> None:
    """A run without options has the stages of the paper alone."""
    assert {stage.config.stage for stage in graph(spec()).stages} == {
        "import",
        "compare-prompts",
        "train-sft",
        "generate-prompts",
        "generate-responses",
        "judge",
        "build-pairs",
        "train-dpo",
        "evaluate",
        "report",
    }


def test_another_reward_takes_the_judges_place() -> None:
    """An implicit reward scores the replies; a verifier has questions answered instead."""
    assert "implicit-reward" in kinds("implicit")
    assert "judge" not in kinds("implicit")
    assert kinds("verifier").isdisjoint({"judge", "generate-prompts", "generate-responses"})
    assert kinds("verifier") >= {"prepare-questions", "sample", "build-pairs"}


def test_positives_take_the_pairs_place() -> None:
    """Where only the best replies are learned there are no pairs and no DPO."""
    assert kinds("positive").isdisjoint({"build-pairs", "train-dpo"})
    assert kinds("positive") >= {"build-positives", "train-sft"}


def test_judgements_are_judged_in_the_rounds_that_ask_for_it() -> None:
    """With one round of meta-judging the second round has none."""
    meta = [
        s.iteration for s in graph(OPTIONS["everything"]).stages if s.config.stage == "meta-judge"
    ]
    assert meta == [1]
