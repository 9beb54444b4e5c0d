from pathlib import Path

from autodidact_worker.report.selfreward.figures import collect
from autodidact_worker.report.selfreward.headline import headline
from support.report_inputs import whole


def test_outcome_names_where_a_round_ended(tmp_path: Path) -> None:
    """A run that a gate stopped says which model is the last and which stage came last."""
    run = whole(tmp_path / "inputs", prompts=8)
    del run.inputs["train-dpo-2"], run.inputs["evaluate-2"]
    first = headline(collect(run.inputs))[0]
    assert first.startswith("The last model is M2. Round 2 was begun and made no model")
    assert first.endswith("build-pairs-2.")
