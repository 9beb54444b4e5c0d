from support.builders import graph
from support.specs import TOY


def test_referee_is_m1_unless_an_oracle_is() -> None:
    """Battles are decided by M1, or by the toy task's oracle, which needs no model."""
    assert graph()["evaluate-2"].inputs["referee"] == "train-sft"
    assert "referee" not in graph(TOY)["evaluate-2"].inputs
