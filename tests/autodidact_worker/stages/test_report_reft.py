import json
import re
from pathlib import Path

import pytest

from autodidact_contract.api import kinds
from autodidact_contract.stages.report import Report
from autodidact_worker.report import recipes, text
from autodidact_worker.report.page import MAX_BYTES
from autodidact_worker.report.reft.figures import collect
from autodidact_worker.report.reft.headline import headline, warnings
from autodidact_worker.report.shares import Paired, paired
from autodidact_worker.runtime.errors import UserError
from autodidact_worker.runtime.frame import Context
from autodidact_worker.stages import report
from support.reft_report_inputs import BASELINES, ReftRun, sample, whole
from support.report_inputs import Run
from support.report_page import HOSTILE, Page, cells, make

NARROW = "\u202f"


def _plain(sentence: str) -> str:
    return sentence.replace(NARROW, " ").replace("\u2212", "-")


def _arm(run: ReftRun, arm: str, right: str, votes: tuple[str, ...] = ()) -> None:
    """Adds an arm's answers: a plus for each question with a right greedy answer, likewise votes.

    Args:
        run: Where to.
        arm: The arm.
        right: One sign a question.
        votes: One sign a sample, for each question.
    """
    answers = []
    for number, sign in enumerate(right):
        signs = sign + (votes[number] if votes else "")
        answers += [
            sample(f"q{number}", index - 1, {"+": "7", "-": "8", "?": None}[sign], "7")
            for index, sign in enumerate(signs)
        ]
    run.answer(arm, answers)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a whole run."""
    folder = tmp_path_factory.mktemp("whole")
    return make(folder, whole(folder / "inputs").inputs, title="chains", kind=kinds.REFT)


def test_page_is_offline_and_well_formed(html: str) -> None:
    """The page runs and loads nothing, every element is closed, and references have a target."""
    page = Page(html)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert (page.loads, page.handlers, page.open) == ([], [], [])
    assert page.links == ["https://arxiv.org/abs/2401.08967"]
    assert len(page.ids) == len(set(page.ids))
    targets = {reference.removeprefix("#") for reference in page.references}
    assert targets <= set(page.ids)


def test_page_has_every_arm_and_plot(html: str) -> None:
    """The accuracy table has a row for each model, and no plot is missing."""
    for name in ("Warm-up", "SFT continued", "Offline", "Online", r"ReFT \(PPO\)"):
        assert cells(html, name)
    plots = ("accuracies", "votes", "validation", "dynamics", "reasons", "losses")
    assert [name for name in plots if f'<figure id="{name}">' not in html] == []
    assert "M1" not in html


def test_accuracies_of_four_questions(tmp_path: Path) -> None:
    """Shares, intervals, differences and the vote curve are what one counts by hand."""
    run = ReftRun(tmp_path, spec={"baselines": [], "voting": {"samples": 3}})
    _arm(run, "warm-up", "+---", ("+--", "?++", "---", "-?-"))
    _arm(run, "ppo", "+++?", ("+++", "+++", "++-", "--+"))
    figures = collect(run.inputs, looked=0)
    warm_up, reft = figures.arms
    assert (warm_up.accuracy["greedy"].share, reft.accuracy["greedy"].share) == (0.25, 0.75)
    # The first vote, the first two and all three; a tie goes to the first, "?" does not vote.
    assert dict(warm_up.votes) == {1: 1, 2: 2, 3: 1}
    assert dict(reft.votes) == {1: 3, 2: 3, 3: 3}
    assert reft.reasons == {"ok": 15, "no-trigger": 1}
    pair = reft.against(warm_up, "greedy")
    assert pair == Paired(both=1, only_ours=2, only_theirs=0, neither=1)
    html = make(tmp_path / "page", run.inputs, kind=kinds.REFT)
    # Wilson of 3 of 4: 0.3006 to 0.9544.
    assert cells(html, r"ReFT \(PPO\)")[0] == "75.0 %30.1 % to 95.4 %"
    assert cells(html, r"ReFT \(PPO\)")[3].startswith("+50.0")
    # 7; 7; 7 and 8; 8 and 7.
    assert cells(html, r"ReFT \(PPO\)")[5] == "1.5of 3"


@pytest.mark.parametrize(
    ("table", "p"),
    [
        ((5, 10, 2, 5), 158 / 4096),  # 2 (1 + 12 + 66) / 2^12
        ((5, 2, 10, 5), 158 / 4096),
        ((3, 0, 0, 5), 1.0),
        ((0, 4, 4, 0), 1.0),
        ((0, 6, 0, 0), 2 / 64),
        ((0, 3000, 0, 0), 0.0),
    ],
)
def test_mcnemar(table: tuple[int, int, int, int], p: float) -> None:
    """P-values are those of a fair coin, summed by hand."""
    both, ours, theirs, neither = table
    pair = Paired(both=both, only_ours=ours, only_theirs=theirs, neither=neither)
    assert pair.p == pytest.approx(p)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Unrelated answers (phi 0): sqrt(2) times half of Wilson's interval of 50 in 100.
        ((25, 25, 25, 25), -0.1360, 0.1360),
        # Bentur et al. 2009, as printed by Fagerland, Lydersen and Laake 2014.
        ((1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_interval_of_a_difference(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe's intervals equal published ones, and turn round with the two models."""
    both, ours, theirs, neither = table
    pair = Paired(both=both, only_ours=ours, only_theirs=theirs, neither=neither)
    assert pair.interval == pytest.approx((low, high), abs=5e-4)
    other = Paired(both=both, only_ours=theirs, only_theirs=ours, neither=neither)
    assert other.interval == pytest.approx((-pair.interval[1], -pair.interval[0]))


def test_only_shared_questions_are_paired() -> None:
    """Questions that one model was not asked are left out."""
    pair = paired({"a": True, "b": False, "c": True}, {"b": True, "c": True, "d": False})
    assert pair == Paired(both=1, only_ours=0, only_theirs=1, neither=0)
    assert paired({"a": True}, {"b": True}) is None


def test_headline_claims_what_the_figures_say(tmp_path: Path) -> None:
    """ReFT is compared with every arm, and where p is large the sentence says so."""
    run = ReftRun(tmp_path, spec={"baselines": ["sft"], "reranker": {"enabled": False}})
    _arm(run, "warm-up", 5 * "+" + 35 * "-")
    _arm(run, "sft", 29 * "+" + 11 * "-")
    _arm(run, "ppo", 30 * "+" + 10 * "-")
    found = [_plain(sentence) for sentence in headline(collect(run.inputs, looked=0))]
    assert found[0].startswith("ReFT (PPO) answers 75.0 % of 40 test questions right (95 % ")
    assert found[1].startswith("Against the warm-up (12.5 %): +62.5 points (+")
    assert found[1].endswith("better, p < 0.001.")
    assert found[2].startswith("Against SFT continued (72.5 %): +2.5 points (-")
    assert found[2].endswith("not distinguishable from chance, p = 1.000.")
    assert len(found) == 3


def test_worse_is_called_worse(tmp_path: Path) -> None:
    """A ReFT that lost accuracy is not dressed up."""
    run = ReftRun(tmp_path, spec={"baselines": [], "reranker": {"enabled": False}})
    _arm(run, "warm-up", 30 * "+" + 10 * "-")
    _arm(run, "ppo", 5 * "+" + 35 * "-")
    found = _plain(headline(collect(run.inputs, looked=0))[1])
    assert "-62.5 points" in found
    assert found.endswith("worse, p < 0.001.")


ENDS = {
    "prepare-train": "No model was trained: the run ended after prepare-train.",
    "train-sft": "No model was reinforced: the run ended with the warm-up.",
    "evaluate-warm-up": "No model was reinforced: the run ended with the warm-up, which answers",
    "train-reft": "ReFT (PPO) was trained but not measured: the run ended after",
}


@pytest.mark.parametrize("last", ENDS)
def test_an_unfinished_run_says_where_it_ended(tmp_path: Path, last: str) -> None:
    """The first sentence of a run that stopped says how far it came."""
    run = whole(tmp_path, 8, baselines=[])
    planned = list(run.stages)
    some = run.only(*planned[: planned.index(last) + 1])
    assert headline(collect(some, looked=0))[0].startswith(ENDS[last])


def test_any_stage_may_be_missing(tmp_path: Path) -> None:
    """A page can be made without any one stage, of any one stage alone, and of any beginning."""
    run = whole(tmp_path / "inputs", 4)
    names = list(run.stages)
    chosen = [[n for n in names if n != name] for name in names]
    chosen += [names[:count] for count in range(1, len(names))] + [[name] for name in names]
    for some in chosen:
        figures = collect(run.only(*some), looked=2)
        assert sorted(figures.stages) == sorted(some)
        assert headline(figures)


@pytest.mark.parametrize("count", [1, 4, 9, 14])
def test_a_beginning_of_a_run_has_a_page(tmp_path: Path, count: int) -> None:
    """A run that ended early has a whole page with the stages that it finished."""
    run = whole(tmp_path / "inputs", 4)
    some = run.only(*list(run.stages)[:count])
    page = Page(make(tmp_path, some, kind=kinds.REFT))
    assert page.open == []
    assert all(name in "".join(page.text) for name in some)


def test_stages_are_in_the_order_of_the_run(tmp_path: Path) -> None:
    """No stage stands before one that it was made of, whatever the order of the inputs."""
    run = whole(tmp_path, 4, algorithm="grpo")
    shuffled = dict(sorted(run.inputs.items(), reverse=True))
    order = recipes.tell(kinds.REFT, shuffled).order
    assert sorted(order) == sorted(run.stages)
    for name, stage in run.stages.items():
        made_of = [maker for maker in stage.inputs.values() if maker in run.stages]
        assert all(order.index(maker) < order.index(name) for maker in made_of), name


def test_kind_of_run_is_told(tmp_path: Path) -> None:
    """The run's kind decides, whatever stages there are; of no stage there is nothing to tell."""
    mixed = whole(tmp_path / "reft", 4).only("prepare-train", "train-sft")
    alone = Run(tmp_path)
    alone.training("train-sft")
    for inputs in (mixed, alone.inputs):
        assert recipes.tell(kinds.REFT, inputs).template == "reft.html.j2"
        assert recipes.tell(kinds.SELF_REWARD, inputs).template == "selfreward.html.j2"
    for kind in kinds.KINDS:
        assert recipes.tell(kind, {}).headline == ("No stage of the run was finished.",)


def test_a_report_by_hand_asks_for_the_kind(tmp_path: Path) -> None:
    """Nothing is guessed: without a kind, or with an unknown one, the message names those known."""
    for kind in ("", "StarRun"):
        context = Context(config=Report(title="x"), inputs={}, out=tmp_path, run_kind=kind)
        with pytest.raises(UserError, match="SelfRewardRun, ReFTRun with --run-kind"):
            report.run(context)


def test_lineage_and_settings(html: str) -> None:
    """Each stage names what it was made of, and stages with the same settings share a table."""
    row = cells(html, "sample-test-ppo")
    assert row[0].split() == ["model", "train-reft,", "questions", "prepare-test"]
    summaries = re.findall(r'<details class="settings">\s*<summary>(.*?)</summary>', html)
    assert "train-reft" in summaries
    assert any(s.startswith("evaluate-warm-up, evaluate-sft") for s in summaries)
    assert '<th scope="row">clipRatio</th><td class="words">0.2</td>' in html


def test_overlap_is_said(tmp_path: Path) -> None:
    """Test questions that were trained on are counted on the page and for programs."""
    run = ReftRun(tmp_path / "inputs", spec={"baselines": [], "reranker": {"enabled": False}})
    run.add("prepare-test", {"rows": 4, "overlap": 3})
    _arm(run, "warm-up", "++--")
    [told] = warnings(collect(run.inputs, looked=0))
    assert told.startswith("3 of 4 test questions are in the training split as well: ")
    html = make(tmp_path, run.inputs, kind=kinds.REFT)
    assert '<p class="warning">3 of 4 test questions' in html
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["overlap"] == 3


def test_curves_go_on_where_the_warm_up_ended(tmp_path: Path) -> None:
    """Validation accuracies lie over rows or answers seen, whether logs count steps or rollouts."""
    run = ReftRun(tmp_path, spec={"warmUp": {"batchSize": 10}})
    run.add("prepare-train")
    run.train("train-sft", [{"step": 0, "accuracy": 0.0}, {"step": 6, "accuracy": 0.4}])
    rollouts = [{"step": 0, "accuracy": 0.4}, {"step": 2, "accuracy": 0.9}]
    run.train("train-reft", rollouts, answers=32, steps=8)
    run.train("train-sft-offline", [{"step": 1, "accuracy": 0.1}])
    arms = {arm.name: arm for arm in collect(run.inputs, looked=0).arms}
    assert arms["warm-up"].measured == [(0, 0.0), (60, 0.4)]
    assert arms["ppo"].measured == [(60, 0.4), (92, 0.9)]
    assert arms["offline-self-training"].measured == [(10, 0.1)]
    assert (arms["warm-up"].seen, arms["ppo"].seen) == (60, 32)


def test_samples_show_where_the_models_differ(tmp_path: Path) -> None:
    """Questions that ReFT won come first, then what it lost, what both missed, what both knew."""
    run = ReftRun(tmp_path, spec={"baselines": ["sft"], "reranker": {"enabled": False}})
    _arm(run, "warm-up", "++-")
    _arm(run, "sft", "---")
    _arm(run, "ppo", "+-+")
    figures = collect(run.inputs, looked=9)
    assert [one.prompt[10:12] for one in figures.looked] == ["q2", "q1", "q0"]
    assert [title for title, _ in figures.looked[0].answers] == ["Warm-up", "ReFT (PPO)"]


def test_hostile_answers_stay_text(tmp_path: Path) -> None:
    """Markup in prompts, answers, values and names of settings never becomes an element."""
    run = ReftRun(tmp_path / "inputs", spec={"baselines": [], "reranker": {"enabled": False}})
    for arm in ("warm-up", "ppo"):
        row = sample(HOSTILE, -1, HOSTILE, HOSTILE, text=f"{HOSTILE}\u202e\x00")
        run.answer(arm, [row])
    html = make(tmp_path, run.inputs, title=HOSTILE, kind=kinds.REFT)
    page = Page(html)
    assert not page.tags & {"script", "img"}
    assert (page.handlers, page.open) == ([], [])
    assert "".join(page.text).count(HOSTILE) >= 6
    assert "⟨U+202E⟩␀" in html


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
    html = make(tmp_path, run.inputs, kind=kinds.REFT)
    assert f"1{NARROW}198{NARROW}800 more characters" in html
    assert len(html.encode()) < MAX_BYTES / 4


def test_only_what_is_shown_is_fetched() -> None:
    """Verdicts come whole, of the samples the first part alone, and no weights."""
    names = ("training_log.jsonl", "verdicts-00007.jsonl", "reranked-00001.jsonl")
    assert all(map(report.wanted, (*names, "samples-00000.jsonl", "judged-00002.jsonl")))
    others = ("samples-00001.jsonl", "rows.jsonl", "model.safetensors", "pairs-00001.jsonl")
    assert not any(map(report.wanted, others))


def test_page_needs_no_more_than_it_asks_for(tmp_path: Path) -> None:
    """Without the files that are not wanted the page is the same."""
    run = whole(tmp_path / "inputs", 130)
    before = make(tmp_path / "before", run.inputs, kind=kinds.REFT)
    for artifact in run.inputs.values():
        for file in artifact.path.iterdir():
            if not report.wanted(file.name):
                file.unlink()
    assert not (run.inputs["sample-test-ppo"].path / "samples-00001.jsonl").exists()
    assert make(tmp_path / "after", run.inputs, kind=kinds.REFT) == before


def test_unreadable_rows_are_noted(tmp_path: Path) -> None:
    """Damaged rows and logs cost their figures, not the page."""
    run = whole(tmp_path / "inputs", 8)
    (run.inputs["evaluate-sft"].path / "verdicts-00000.jsonl").write_text("{}\n")
    (run.inputs["train-reft"].path / "training_log.jsonl").write_text("loss\n")
    (run.inputs["sample-test-ppo"].path / "samples-00000.jsonl").unlink()
    html = make(tmp_path, run.inputs, kind=kinds.REFT)
    assert "verdicts-00000.jsonl line 1" in html
    assert "train-reft: its training log cannot be read" in html
    assert "sample-test-ppo: samples-00000.jsonl is missing" in html
    assert cells(html, "SFT continued")[0] == text.NONE


def test_summary_has_arms_and_paired_tests(tmp_path: Path) -> None:
    """Programs find accuracies with intervals, counts and paired tests, and no text of a model."""
    run = whole(tmp_path / "inputs", 16, algorithm="grpo")
    make(tmp_path, run.inputs, kind=kinds.REFT)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [arm["name"] for arm in summary["arms"]] == ["warm-up", *BASELINES, "grpo"]
    arm = summary["arms"][-1]
    assert set(arm["accuracy"]) == {"greedy", "vote", "rerank"}
    assert arm["accuracy"]["greedy"]["n"] == 16
    assert list(arm["rightVotes"]) == ["1", "2", "4", "8"]
    assert arm["training"]["steps"] == 240
    pairs = {(pair["theirs"], pair["strategy"]): pair for pair in summary["paired"]}
    assert len(pairs) == 12
    pair = pairs["warm-up", "greedy"]
    ours, theirs = (summary["arms"][i]["accuracy"]["greedy"]["share"] for i in (-1, 0))
    assert pair["difference"] == pytest.approx(ours - theirs)
    assert pair["low"] < pair["difference"] < pair["high"]
    assert summary["lineage"][0]["stage"] == "prepare-train"
    assert "answer is" not in json.dumps(summary)
