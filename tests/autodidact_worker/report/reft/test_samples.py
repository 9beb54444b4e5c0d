from pathlib import Path

from autodidact_contract.api import kinds
from autodidact_worker.report.page import MAX_BYTES
from autodidact_worker.report.reft.figures import collect
from support.reft_arms import NARROW, arm_of
from support.reft_report_inputs import ReftRun, sample
from support.report_page import HOSTILE, Page, make


def test_samples_show_where_the_models_differ(tmp_path: Path) -> None:
    """Questions that ReFT won come first, then what it lost, what both missed, what both knew."""
    run = ReftRun(tmp_path, spec={"baselines": ["sft"], "reranker": {"enabled": False}})
    arm_of(run, "warm-up", "++-")
    arm_of(run, "sft", "---")
    arm_of(run, "ppo", "+-+")
    figures = collect(run.inputs, looked=9)
    assert [one.prompt[10:12] for one in figures.looked] == ["q2", "q1", "q0"]
    assert [title for title, _ in figures.looked[0].answers] == ["Warm-up", "ReFT (PPO)"]


def test_hostile_answers_stay_text(tmp_path: Path) -> None:
    """Markup in prompts, answers, values and names of settings never becomes an element."""
    run = ReftRun(tmp_path / "inputs", spec={"baselines": [], "reranker": {"enabled": False}})
    for arm in ("warm-up", "ppo"):
        row = sample(HOSTILE, -1, HOSTILE, HOSTILE, text=f"{HOSTILE}\u202e\x00")
        run.answer(arm, [row])
    reft_html = make(tmp_path, run.inputs, title=HOSTILE, kind=kinds.REFT)
    page = Page(reft_html)
    assert not page.tags & {"script", "img"}
    assert (page.handlers, page.open) == ([], [])
    assert "".join(page.text).count(HOSTILE) >= 6
    assert "⟨U+202E⟩␀" in reft_html


def test_long_answers_keep_the_page_small(tmp_path: Path) -> None:
    """Answers of a million characters show their beginning, and the page keeps its limit."""
    run = ReftRun(tmp_path / "inputs", spec={"baselines": [], "reranker": {"enabled": False}})
    for arm in ("warm-up", "ppo"):
        rows_of = [
            sample(f"q{number}", index, "7", "7", text="<&>" * 400_000)
            for number in range(3)
            for index in range(-1, 3)
        ]
        run.answer(arm, rows_of)
    reft_html = make(tmp_path, run.inputs, kind=kinds.REFT)
    assert f"1{NARROW}198{NARROW}800 more characters" in reft_html
    assert len(reft_html.encode()) < MAX_BYTES / 4
