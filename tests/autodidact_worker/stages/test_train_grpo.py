import pytest

from autodidact_contract.base import Lora
from autodidact_contract.stages.answers import Reward
from autodidact_worker.intake import model_files
from autodidact_worker.runtime.errors import UserError
from support.grpo_runs import RunGrpo, figures
from support.online_stages import RULES

pytestmark = pytest.mark.training


def test_the_stage_says_what_happened(run_grpo: RunGrpo) -> None:
    """Twelve questions, four answers each, two steps a rollout; the reference is the start."""
    out, output = run_grpo()
    counts = output.counts
    assert (counts["rows"], counts["rollouts"], counts["steps"]) == (12, 3, 6)
    assert counts["answers"] == 48
    assert sum(count for name, count in counts.items() if name.startswith("read-")) == 48
    assert counts["sandbox-missing"] == 0
    assert set(output.metrics) >= {"accuracy", "reward", "truncation", "lastKl", "loss"}
    kl = figures(out, "kl")
    assert kl[0] == 0.0
    assert output.metrics["lastKl"].value == kl[4]  # of the last rollout's first pass
    assert len(figures(out, "accuracy")) == 2
    assert figures(out, "clipFraction")[::2] == [0.0] * 3  # what samples is what learns
    assert set(output.seconds) == {"sampling", "reward", "learning"}
    assert min(output.seconds.values()) > 0
    model_files.check(out)


def test_no_reward_is_said_so(run_grpo: RunGrpo) -> None:
    """Wrong answers earn nothing and none is right: there is nothing to learn."""
    with pytest.raises(UserError, match="none of the 48 answers of the first 3") as caught:
        run_grpo(reward=Reward(partial=0, partial_when="numeric"), answers=RULES)
    assert caught.value.reason == "NoReward"


def test_dropout_is_refused(run_grpo: RunGrpo) -> None:
    """The policy that samples would not be the policy that learns."""
    with pytest.raises(UserError, match=r"dropout is 0\.0 and lora\.dropout is 0\.1") as caught:
        run_grpo(lora=Lora(rank=4, dropout=0.1))
    assert caught.value.reason == "DropoutNotApplicable"
