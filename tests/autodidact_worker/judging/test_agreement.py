from typing import Any

import pytest

from autodidact_contract.records import Battle, Ranking
from autodidact_worker.judging import agreement


def ranking(*scores: float | None, ranks: tuple[int, ...] | None = None) -> Ranking:
    """Scores of replies that people ranked best to worst."""
    return Ranking(
        prompt_id="p", ranks=ranks or tuple(range(1, len(scores) + 1)), scores=tuple(scores)
    )


def measured(*rankings: Ranking) -> tuple[dict[str, int], dict[str, Any]]:
    """Counts and values."""
    counts, means = agreement.ranking_metrics(rankings, best=5)
    return counts, {name: mean.value for name, mean in means.items()}


@pytest.mark.parametrize(
    ("scores", "pairwise", "exact", "tau", "rho"),
    [
        ((5, 3, 1), 1, 1, 1, 1),
        ((4, 5, 1), 2 / 3, 0, 1 / 3, 0.5),
        ((5, 4, 4), 2 / 3, 0, 0.8165, 0.8660),
        ((1, 3, 5), 0, 0, -1, -1),
    ],
)
def test_one_prompt(
    scores: tuple[float, ...], pairwise: float, exact: float, tau: float, rho: float
) -> None:
    """Hand-computed agreement; a tie is a miss, tau is tau-b."""
    _, found = measured(ranking(*scores))
    assert found["pairwiseAccuracy"] == pytest.approx(pairwise)
    assert found["exactMatch"] == exact
    assert found["kendall"] == pytest.approx(tau, abs=1e-4)
    assert found["spearman"] == pytest.approx(rho, abs=1e-4)


def test_constant_scores_have_no_correlation_but_are_misses() -> None:
    """They stay in pairwise accuracy and exact match, and are counted."""
    counts, found = measured(ranking(4, 4, 4))
    assert counts["constant-prompts"] == 1
    assert (found["pairwiseAccuracy"], found["exactMatch"], found["tieRate"]) == (0, 0, 1)
    assert "kendall" not in found
    assert "spearman" not in found


def test_five_best_is_the_share_of_full_marks_that_people_ranked_first() -> None:
    """Replies scored five at human ranks one, two and one: two thirds."""
    _, found = measured(ranking(5, 5), ranking(5, 4))
    assert found["fiveBest"] == pytest.approx(2 / 3)


def test_five_best_without_full_marks_is_undefined() -> None:
    """No reply scored five: shown as nothing, not as zero."""
    assert measured(ranking(4, 3))[1]["fiveBest"] is None


def test_pairs_are_pooled_over_prompts() -> None:
    """Four right of four pairs; beside it the mean over prompts."""
    _, found = measured(ranking(5, 3, 1), ranking(1, 2))
    assert found["pairwiseAccuracy"] == pytest.approx(3 / 4)
    assert found["pairwiseAccuracyByPrompt"] == pytest.approx(1 / 2)


def test_equal_human_ranks_form_no_pair() -> None:
    """What people did not order cannot be right or wrong."""
    counts, found = measured(ranking(5, 1, 3, ranks=(1, 2, 2)))
    assert counts["ranked-pairs"] == 2
    assert (found["pairwiseAccuracy"], found["exactMatch"]) == (1, 1)


def test_unscored_replies_leave_their_pairs_and_are_counted() -> None:
    """Pairs without a score are no misses; the prompt leaves exact match."""
    counts, found = measured(ranking(5, None, 1))
    assert (counts["unscored-pairs"], counts["partly-scored-prompts"]) == (2, 1)
    assert found["pairwiseAccuracy"] == 1
    assert found["exactMatch"] is None


def test_a_judge_without_any_score_measures_nothing() -> None:
    """All means are undefined, none is zero."""
    _, found = measured(ranking(None, None))
    assert found == {"pairwiseAccuracy": None, "exactMatch": None, "fiveBest": None}


def test_shares_of_battles_add_up() -> None:
    """Wins, draws and losses are shares of all battles, unreadable verdicts are counted."""

    def battle(result: Any, *verdicts: Any) -> Battle:
        return Battle(
            opponent="previous",
            prompt_id="p",
            prompt="",
            ours="",
            theirs="",
            verdicts=verdicts,
            result=result,
        )

    battles = [
        battle("win", "win", "win"),
        battle("tie", "win", "invalid"),
        battle("loss"),
        battle("win"),
    ]
    counts, means = agreement.battle_metrics(battles)
    assert counts == {"battles": 4, "invalid-verdicts": 1}
    assert {name: mean.value for name, mean in means.items()} == {
        "winRate": 0.5,
        "drawRate": 0.25,
        "lossRate": 0.25,
        "gain": 0.25,
    }
    counts, means = agreement.battle_metrics(battles, "baseline")
    assert counts == {"battles-baseline": 4, "invalid-verdicts-baseline": 1}
    assert set(means) == {f"{name}Baseline" for name in ("winRate", "drawRate", "lossRate", "gain")}
