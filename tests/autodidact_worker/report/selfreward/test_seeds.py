import json
from pathlib import Path

from autodidact_worker.report.selfreward import measures
from support.report_inputs import Run
from support.report_page import cells, make


def test_seed_data_tells_what_was_kept(tmp_path: Path) -> None:
    """Acceptance, the reasons, and the scores before and after rebalancing."""
    run = Run(tmp_path)
    before = {"before-3": 4, "before-4": 12, "after-3": 4, "after-4": 4}
    run.add("build-eft", {"prompts": 9, "accepted": 6, "rejected-inversion": 3, **before})
    run.add("train-sft")
    (run.inputs["train-sft"].path / "training_log.jsonl").write_text("")
    seed = measures.collect(run.inputs).seed.judgements
    assert seed is not None
    assert (seed.prompts, seed.accepted, seed.rejected) == (9, 6, {"inversion": 3})
    html = make(tmp_path, run.inputs)
    assert cells(html, "9", table="prompts judged")[0] == "6 66.7 %"
    assert "3: 4 <small>25\u202f%</small>, 4: 12 <small>75\u202f%</small>" in html
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["measures"]
    assert summary["seed"]["judgements"]["after"] == {"3": 4, "4": 4}


def test_ranked_trees_tell_what_was_left_out(tmp_path: Path) -> None:
    """Every reason that is not zero, the rows of each part, and prompts that are held out twice."""
    run = Run(tmp_path)
    counts = {"trees": 40, "prompts": 31, "orphans": 3, "cycles": 2, "other-language": 5}
    counts |= {"unranked": 2, "duplicates": 2, "deleted": 0}
    run.add("build-instructions", {**counts, "rows": 20})
    run.add("build-heldout", {**counts, "rows": 11})
    overlaps = {"overlap": 2, "overlap-evaluations": 0, "overlap-instructions": 2}
    run.add("compare-prompts", {"prompts": 11, **overlaps})
    run.training("train-sft")
    html = make(tmp_path, run.inputs)
    assert cells(html, "40", table="trees") == [
        "31",
        "other-language 5, orphans 3, cycles 2, unranked 2, duplicates 2",
        "instructions 20, held out 11",
    ]
    row = cells(html, "11", table="held-out prompts")
    assert row == ["2", "evaluations 0, instructions 2"]
    seed = json.loads((tmp_path / "out" / "summary.json").read_text())["measures"]["seed"]
    assert (seed["overlap"]["overlap"], seed["trees"]["dropped"]["cycles"]) == (2, 2)
