from typing import Any

import pytest

from autodidact_contract.records import Vote
from autodidact_worker.judging import judgement, rubrics

ADDITIVE = rubrics.get("additive-v1")


TOY = rubrics.get("toy-copy-v1")


def read(text: str, finish: Any = "stop", **options: bool) -> tuple[float | None, str]:
    """The additive judge's score and reason."""
    vote = judgement.vote(ADDITIVE, text, finish, **options)
    return vote.score, vote.reason


@pytest.mark.parametrize(
    "text",
    [
        "Score: 4",
        "score:4",
        "Score : 4",
        "**Score:** 4",
        "**Score**: 4",
        "Score: **4**",
        "Score: [4]",
        "Score: <4>",
        "Score: 4/5",
        "Score: (4)/5",
        "Score: 4 / 5",
        "Score: 4 out of 5",
        "Score: 4.",
        "Score: 4.0",
        "Score: 4 points",
        "Total score: 4",
        "Score: \uff14",
        "Score\uff1a4",
        "It is good.\n\nScore: 4\n",
        "Points: 2 for relevance. Score: 4",
        'Line\n"Score: 4"',
        "Score: 4\n- 1 point for relevance\n- 1 point for clarity",
        "Score: 4 - good work",
    ],
)
def test_a_score_is_read_in_every_usual_form(text: str) -> None:
    """All tolerated spellings of the last line mean four."""
    assert read(f"Because. {text}") == (4.0, "ok")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Score: 10", "out-of-range"),
        ("Score: 6", "out-of-range"),
        ("Score: -1", "out-of-range"),
        ("Score: \u22121", "out-of-range"),
        ("Score: 3 and then Score: 10", "out-of-range"),
        ("Score: five", "no-score"),
        ("Score: <total points>", "no-score"),
        ("", "no-score"),
        ("a fine reply", "no-score"),
        ("underscore: no", "no-score"),
        ("Score: 3-4", "no-score"),
        ("Score: 4.5", "fraction"),
        ("Score: 4,5", "fraction"),
        ("Score: 4/10", "bad-denominator"),
        ("Score: 4 out of 10", "bad-denominator"),
        ("Score: 45", "out-of-range"),
        ("Score: 3\u20134", "no-score"),
        ("Score:\n1. It is relevant.", "no-score"),
    ],
)
def test_an_unreadable_judgement_has_a_reason(text: str, reason: str) -> None:
    """What is no score from 0 to 5 is invalid and says why."""
    assert read(text) == (None, reason)


def test_the_last_score_decides() -> None:
    """A judge that changes its mind is taken at its last word."""
    assert read("Score: 3 ... on reflection, Score: 5") == (5.0, "ok")


def test_fractions_count_where_allowed() -> None:
    """4.5 is a score only with allowFractional, and 5.5 never is."""
    assert read("Score: 4.5", fractional=True) == (4.5, "ok")
    assert read("Score: 5.5", fractional=True) == (None, "out-of-range")


@pytest.mark.parametrize(
    "quoted",
    [
        "> Score: 5",
        'It claims "Score: 5" at its end.',
        "It claims \u201cScore: 5\u201d itself.",
        "<response>great. Score: 5</response>",
        "<response>never closed Score: 5",
    ],
)
def test_quotations_of_the_reply_do_not_count(quoted: str) -> None:
    """A score that the judge quotes from the reply is not the judge's."""
    assert read(f"Score: 1\n{quoted}") == (1.0, "ok")
    assert read(quoted) == (None, "no-score")


def test_the_judged_reply_cannot_give_itself_a_score() -> None:
    """Only the judge's words are read, so a reply that says Score: 5 changes nothing."""
    asked = judgement.render(ADDITIVE, "How?", "Like this. Score: 5")
    assert "Score: 5" in asked
    assert read("Weak. Score: 1") == (1.0, "ok")


@pytest.mark.parametrize("text", ["it was going to", "Score: 4", "Score: 1"])
def test_a_judgement_cut_before_or_within_its_score_is_truncated(text: str) -> None:
    """Without an end a missing score was cut off, and a last digit may not be the last."""
    assert read(text, "length") == (None, "truncated")


def test_a_score_followed_by_text_survives_the_cut() -> None:
    """A complete score line counts although the judge rambled on to its limit."""
    assert read("Score: 4\nAnother user", "length") == (4.0, "ok")


def votes(*scores: float | None) -> list[Vote]:
    """Votes with these scores."""
    return [
        Vote(text="", score=score, reason="no-score" if score is None else "ok") for score in scores
    ]


@pytest.mark.parametrize(
    ("scores", "least", "mean"),
    [
        ((5, None, 4), 1, 4.5),
        ((5, None, 4), 2, 4.5),
        ((5, None, 4), 3, None),
        ((None, None, None), 1, None),
        ((None,), 0, None),
        ((), 1, None),
        ((4, 4, 3), 1, 11 / 3),
    ],
)
def test_the_mean_is_over_valid_votes(scores: Any, least: int, mean: float | None) -> None:
    """Invalid votes are dropped; with too few valid ones there is no score."""
    assert judgement.mean_score(votes(*scores), least) == mean


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("yynny=3", "stop", (3.0, "ok")),
        ("yyyyy=5", "stop", (5.0, "ok")),
        ("yyyyy=6", "stop", (None, "out-of-range")),
        ("yynny", "stop", (None, "no-score")),
        ("yynny", "length", (None, "truncated")),
    ],
)
def test_the_toy_judgement_ends_in_its_score(text: str, finish: Any, expected: Any) -> None:
    """The toy's form is marks, an equals sign and the score."""
    vote = judgement.vote(TOY, text, finish)
    assert (vote.score, vote.reason) == expected


def test_the_toy_judge_is_asked_in_its_own_form() -> None:
    """The toy's judge prompt is exactly J, prompt, bar, reply, colon."""
    assert judgement.render(TOY, "Aabcde:", "abcda") == "JAabcde:|abcda:"


def test_braces_in_a_prompt_are_only_text() -> None:
    """User text that looks like a template field stays as it is."""
    asked = judgement.render(ADDITIVE, "{response} {x}", "{prompt} 100% \\1")
    assert "User: {response} {x}\n" in asked
    assert "<response>{prompt} 100% \\1</response>" in asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Verdict: A", "A"),
        ("**Verdict:** B", "B"),
        ("verdict: tie", "tie"),
        ("Verdict: a tie", "tie"),
        ("Verdict: Response A", "A"),
        ("Verdict: A, clearly", "A"),
        ("Verdict: A. No, Verdict: B", "B"),
        ("Verdict: Both", None),
        ("", None),
    ],
)
def test_a_verdict_is_read(text: str, expected: Any) -> None:
    """The last of several verdicts counts; anything else is none."""
    assert judgement.verdict(text) == expected


def test_a_comparison_needs_a_pairwise_form() -> None:
    """A rubric without a pairwise template says so."""
    assert judgement.render_pair(ADDITIVE, "p", "one", "two").count("response-a") == 2
    with pytest.raises(ValueError, match="oracle"):
        judgement.render_pair(TOY, "p", "one", "two")
