import json
from dataclasses import replace
from pathlib import Path

from support.report_inputs import whole
from support.report_page import make


def test_a_fork_tells_where_its_first_model_is_from(tmp_path: Path) -> None:
    """Chain, headline and tables name the artifact of the other run; nothing is missing."""
    run = whole(tmp_path / "inputs", iterations=1)
    made = run.inputs.pop("train-sft")
    origin = {"uri": "artifact://train-dpo-0a1b", "stage": "import"}
    run.inputs["import-origin"] = replace(made, kind="import", config=origin)
    html = make(tmp_path, run.inputs)
    assert "after 1 round of DPO from train-dpo-0a1b." in html
    assert "<b>M1</b><span>from train-dpo-0a1b · quality 3.31</span>" in html
    assert 'class="missing"' not in html
    assert "<b>M0</b>" not in html
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    first, second = summary["models"]
    assert (first["stage"], first["digest"], first["origin"]) == (
        *("import-origin", made.digest, "train-dpo-0a1b"),
    )
    assert second["origin"] == ""
    assert summary["lineage"][0]["stage"] == "import-origin"
