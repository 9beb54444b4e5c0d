import json
from pathlib import Path

from support.report_inputs import whole
from support.report_page import make


def test_summary_has_the_tables(tmp_path: Path) -> None:
    """Programs find the tables' figures beside the page, and no model-written text."""
    run = whole(tmp_path / "inputs", iterations=1, prompts=8)
    make(tmp_path, run.inputs)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [model["name"] for model in summary["models"]] == ["M1", "M2"]
    assert summary["models"][1]["battles"] == {"win": 139, "tie": 109, "loss": 8}
    assert summary["rounds"][0]["newPrompts"] == 8
    assert "prompt" not in summary["rounds"][0]
