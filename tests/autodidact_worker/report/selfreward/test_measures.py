"""The report's tables of battles, lengths, prompts, judges, checkpoints and seed data."""

import json
from pathlib import Path

import pytest

from autodidact_contract.records import Battle
from autodidact_worker.report.selfreward import measures
from autodidact_worker.report.selfreward.measures import Check
from autodidact_worker.runtime import rows
from support.report_inputs import Run
from support.report_page import cells, make

VERDICTS = {"win": ("win", "win"), "tie": ("win", "invalid"), "loss": ("loss", "loss")}


def evaluate(run: Run, number: int, **met: str) -> None:
    """Adds an evaluation; of each opponent w, t and l say how the battles went."""
    path = run.add(
        f"evaluate-{number}",
        {"judgements": 10, "parsed": 8, "invalid-no-score": 2, "votes-2": 4, "votes-4.5": 4},
        scoreEntropy=0.693,
        lengthRatio=1.5 if "first" in met else None,
    )
    names = {name[0]: name for name in VERDICTS}
    fought = [
        Battle(
            opponent=opponent,
            prompt_id=f"{i}",
            prompt=f"say {i}",
            ours="x" * (10 * i + 10),
            theirs="y" * 4,
            verdicts=VERDICTS[names[letter]],
            result=names[letter],
        )
        for opponent, letters in met.items()
        for i, letter in enumerate(letters)
    ]
    rows.write_parts(path, "battles", fought)


def test_every_opponent_has_its_line(tmp_path: Path) -> None:
    """Hand-counted battles; the predecessor of M2 is M1 and is told once; ties may be unreadable."""
    run = Run(tmp_path)
    evaluate(run, 1, previous="wwtl", first="wwtl", baseline="wwww")
    evaluate(run, 2, previous="ttll", first="wttt")
    found = measures.collect(run.inputs)
    assert [(m.model, m.opponent, m.win, m.tie, m.loss, m.invalid) for m in found.meetings] == [
        ("M2", "M1", 2, 1, 1, 1),
        ("M2", "SFT on instructions", 4, 0, 0, 0),
        ("M3", "M2", 0, 2, 2, 2),
        ("M3", "M1", 1, 3, 0, 3),
    ]
    assert [m.gain for m in found.meetings] == [0.25, 1.0, -0.5, 0.25]
    row = cells(make(tmp_path, run.inputs), "M2", table="battles of")
    # Wilson: 2 of 4 is 15.0 to 85.0, 1 of 4 is 4.6 to 69.9, 2 of 3 is 20.8 to 93.9 percent.
    assert row == [
        "M1",
        "2 / 1 / 1",
        "50.0 % 15.0 % to 85.0 %",
        "25.0 % 4.6 % to 69.9 %",
        "66.7 % 20.8 % to 93.9 %",
        "0.25",
        "1",
    ]


def test_the_first_table_is_against_the_predecessor_alone(tmp_path: Path) -> None:
    """Battles with others are not added to those with the model before."""
    run = Run(tmp_path)
    evaluate(run, 2, previous="ttll", first="wwww", baseline="wwww")
    assert cells(make(tmp_path, run.inputs), "M3")[2] == "0 / 2 / 2 vs M2"


def test_lengths_have_quantiles(tmp_path: Path) -> None:
    """Of 10, 20, 30 and 40 characters; M1's are what others met."""
    run = Run(tmp_path)
    evaluate(run, 1, previous="wwtl", first="wwtl")
    first, second = measures.collect(run.inputs).lengths
    assert (first.model, first.n, first.mean, set(first.quantiles)) == ("M1", 4, 4.0, {4})
    assert (second.model, second.mean, second.ratio) == ("M2", 25.0, 1.5)
    assert second.quantiles == (10, 10, 20, 30, 40, 40)


def test_judges_tell_their_votes(tmp_path: Path) -> None:
    """Readable share, entropy, scores and reasons, of people's replies and of the model's own."""
    run = Run(tmp_path)
    evaluate(run, 0)
    run.add("judge-1", {"judgements": 4, "parsed": 4, "votes-5": 4}, scoreEntropy=0.0)
    found = measures.collect(run.inputs).health
    assert [one.name for one in found] == ["M1 on people's replies", "M1 on own replies"]
    assert (found[0].scores, found[0].unreadable) == ({2.0: 4, 4.5: 4}, {"no-score": 2})
    del run.inputs["judge-1"]  # it has no rows
    row = cells(make(tmp_path, run.inputs), "M1 on people", table="votes of")
    assert row == ["10", "80.0 %", "0.69", "2: 4 50 %, 4.5: 4 50 %", "no-score 2"]


@pytest.mark.parametrize("kept", [0, 20])
def test_checkpoints_tell_which_was_kept(tmp_path: Path, kept: int) -> None:
    """The checks of the curve, and the start where no checkpoint was better."""
    run = Run(tmp_path)
    path = run.add("train-dpo-1", {"keptStep": kept, "checks": 2, "invalid-verdicts": 3})
    lines = [
        {"step": 20, "loss": 0.6},
        {"step": 20, "wins": 5, "ties": 3, "losses": 2},
        {"step": 40, "wins": 1, "ties": 8, "losses": 1},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (path / "training_log.jsonl").write_text(text)
    [choice] = measures.collect(run.inputs).choices
    assert (choice.number, choice.kept, choice.invalid) == (1, kept, 3)
    assert choice.checks == (
        Check(step=20, wins=5, ties=3, losses=2),
        Check(step=40, wins=1, ties=8, losses=1),
    )
    html = make(tmp_path, run.inputs)
    row = cells(html, "round 1", table="checkpoints of")
    assert row == ["20", "5 / 3 / 2", "0.30", "yes" if kept else "\u2013"]
    assert html.count("<td>yes</td>") == 1


def test_damaged_battles_cost_their_lines(tmp_path: Path) -> None:
    """The page says so once and has the rest."""
    run = Run(tmp_path)
    evaluate(run, 1, previous="w")
    evaluate(run, 2, previous="l")
    (run.inputs["evaluate-2"].path / "battles-00000.jsonl").write_text("{}\n")
    html = make(tmp_path, run.inputs)
    assert html.count("battles-00000.jsonl line 1") == 1
    assert cells(html, "M2", table="battles of")[1] == "1 / 0 / 0"
