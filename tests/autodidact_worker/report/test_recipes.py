from pathlib import Path

from autodidact_contract.api import kinds
from autodidact_worker.report import recipes
from support.reft_report_inputs import whole


def test_stages_are_in_the_order_of_the_run(tmp_path: Path) -> None:
    """No stage stands before one that it was made of, whatever the order of the inputs."""
    run = whole(tmp_path, 4, algorithm="grpo")
    shuffled = dict(sorted(run.inputs.items(), reverse=True))
    order = recipes.tell(kinds.REFT, shuffled).order
    assert sorted(order) == sorted(run.stages)
    for name, stage in run.stages.items():
        made_of = [maker for maker in stage.inputs.values() if maker in run.stages]
        assert all(order.index(maker) < order.index(name) for maker in made_of), name
