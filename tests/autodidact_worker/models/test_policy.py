import math
from pathlib import Path

import pytest
import torch

from autodidact_worker.models import loading, policy
from autodidact_worker.models.policy import ActorCritic, Policy, collate
from support.tensors import near
from support.tiny import write_gpt2

CPU = torch.device("cpu")


def test_log_probs_of_tokens() -> None:
    """Logits 1, 2, 3: the softmax has 0.0900, 0.2447 and 0.6652; at temperature 2 it is flatter."""
    logits = torch.tensor([[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]])
    tokens = torch.tensor([[2, 0]])
    assert near(
        policy.token_log_probs(logits, tokens), [math.log(0.66524), math.log(0.09003)], 1e-4
    )
    warm = policy.token_log_probs(logits, tokens, 2.0)
    assert near(warm, [math.log(0.50648), math.log(0.18632)], 1e-4)
    half = policy.token_log_probs(logits.bfloat16(), tokens)
    assert half.dtype == torch.float32


@pytest.fixture(scope="module", params=["rotary", "absolute"])
def model(request: pytest.FixtureRequest, llama: Path, tmp_path_factory: object) -> object:
    """A model with rotary, and one with learned absolute positions."""
    if request.param == "rotary":
        return loading._load(llama).model
    folder = tmp_path_factory.mktemp("gpt2")  # type: ignore[attr-defined]
    return loading._load(write_gpt2(folder)).model


PAIRS = [([5, 6, 7, 8], [9, 10, 1]), ([6, 7], [11, 12, 13, 14, 1]), ([9], [1])]


@pytest.mark.parametrize("network", ["shared", "separate"])
def test_padding_moves_nothing(model: object, network: str) -> None:
    """Alone, with others, and after seven columns of padding, an answer has the same numbers."""
    policy = ActorCritic(model, network=network)  # type: ignore[arg-type]
    with torch.no_grad():
        together, values = policy(collate(PAIRS, 0, CPU))
        for row, (prompt, answer) in enumerate(PAIRS):
            seven = ([2] * (len(prompt) + 7), [1])
            for batch in ([(prompt, answer)], [(prompt, answer), seven]):
                alone, value = policy(collate(batch, 0, CPU))
                for found, other in ((alone, together), (value, values)):
                    difference = found[0, : len(answer)] - other[row, : len(answer)]
                    assert difference.abs().max() < 1e-5


def test_log_probs_are_those_of_the_model(model: object) -> None:
    """What the whole sequence without padding says of the answer's tokens, shifted by one."""
    policy = Policy(model)
    with torch.no_grad():
        found = policy(collate(PAIRS, 0, CPU))
        for row, (prompt, answer) in enumerate(PAIRS):
            logs = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)  # type: ignore[operator]
            wanted = [float(logs[len(prompt) - 1 + t, token]) for t, token in enumerate(answer)]
            assert found[row, : len(answer)].tolist() == pytest.approx(wanted, abs=1e-5)


def test_values_are_read_where_the_action_is_predicted(model: object) -> None:
    """The head on the hidden state before each token, the prompt's last one first."""
    policy = ActorCritic(model)
    prompt, answer = PAIRS[0]
    with torch.no_grad():
        _, values = policy(collate([PAIRS[0]], 0, CPU))
        states = model(  # type: ignore[operator]
            torch.tensor([[*prompt, *answer]]), output_hidden_states=True
        ).hidden_states[-1]
        wanted = policy.head(states[0, len(prompt) - 1 : -1])[:, 0]
    assert torch.allclose(values[0], wanted, atol=1e-5)


def test_the_head_begins_as_asked(model: object) -> None:
    """Zeros, or torch's default from the seed, whatever the state of the global generator."""
    zero = ActorCritic(model, head="zero")
    assert not zero.head.weight.any()
    assert not zero.head.bias.any()
    torch.manual_seed(1)
    first = ActorCritic(model, seed=3).head.weight
    torch.manual_seed(2)
    assert torch.equal(ActorCritic(model, seed=3).head.weight, first)
    assert not torch.equal(ActorCritic(model, seed=4).head.weight, first)
    bound = 1 / math.sqrt(first.shape[1])
    assert bound / 2 < float(first.detach().abs().max()) <= bound


def test_the_head_alone_sends_no_gradient_back(model: object) -> None:
    """While it warms up; afterwards the value loss reaches the shared backbone."""
    policy = ActorCritic(model)
    batch = collate(PAIRS, 0, CPU)
    for head_only in (True, False):
        policy.zero_grad()
        policy.head_only = head_only
        policy(batch)[1].sum().backward()
        backbone = [p.grad for n, p in policy.named_parameters() if not n.startswith("head.")]
        assert any(g is not None and bool(g.any()) for g in backbone) != head_only
        assert policy.head.weight.grad is not None
    policy.zero_grad()
