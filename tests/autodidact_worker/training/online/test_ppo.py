"""PPO's mathematics on values computed by hand, and the networks it is applied to."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autodidact_worker.models import loading, policy
from autodidact_worker.models.policy import ActorCritic, Policy, collate
from autodidact_worker.training.online import ppo
from support.tiny import write_gpt2

CPU = torch.device("cpu")
MASK = torch.ones(1, 3, dtype=torch.bool)
OLD = torch.tensor([[-0.5, -1.0, -0.2]])
REFERENCE = torch.tensor([[-0.7, -0.9, -0.4]])
VALUES = torch.tensor([[0.2, 0.4, 0.5]])
REWARDS = torch.tensor([[-0.01, 0.005, 0.99]])
ADVANTAGES = torch.tensor([[0.731975, 0.5705, 0.49]])
RETURNS = torch.tensor([[0.931975, 0.9705, 0.99]])
# What lies outside of the mask; it must change nothing.
JUNK = 77.0


def near(tensor: Tensor, values: list[float], tolerance: float = 2e-6) -> bool:
    """Whether a tensor has these values."""
    return tensor.flatten().tolist() == pytest.approx(values, abs=tolerance)


def longer(tensor: Tensor) -> Tensor:
    """The same answer with two columns of junk after it."""
    return torch.cat([tensor, torch.full((1, 2), JUNK)], 1)


LONGER_MASK = torch.tensor([[True, True, True, False, False]])


def test_rewards_are_the_penalty_and_the_score_on_the_last_action() -> None:
    """The KL of every action costs, the end token's too; beta 0 leaves the score."""
    scores = torch.tensor([1.0])
    found = ppo.token_rewards(scores, OLD - REFERENCE, MASK, 0.05)
    assert near(found, [-0.01, 0.005, 0.99])
    padded = ppo.token_rewards(scores, longer(OLD - REFERENCE), LONGER_MASK, 0.05)
    assert near(padded, [-0.01, 0.005, 0.99, 0, 0])
    assert near(ppo.token_rewards(scores, OLD - REFERENCE, MASK, 0.0), [0, 0, 1])


def test_advantages_are_the_published_code_s() -> None:
    """Gamma 1 and lambda 0.95; padding is nothing that a value could be bootstrapped from."""
    advantages, returns = ppo.gae(REWARDS, VALUES, MASK, 1.0, 0.95)
    assert near(advantages, [0.731975, 0.5705, 0.49])
    assert near(returns, [0.931975, 0.9705, 0.99])
    advantages, returns = ppo.gae(longer(REWARDS), longer(VALUES), LONGER_MASK, 1.0, 0.95)
    assert near(advantages, [0.731975, 0.5705, 0.49, 0, 0])
    assert near(returns, [0.931975, 0.9705, 0.99, 0, 0])


def test_gamma_and_lambda_are_not_swapped() -> None:
    """The paper's text has them the other way round, which is another result."""
    swapped, _ = ppo.gae(REWARDS, VALUES, MASK, 0.95, 1.0)
    assert near(swapped, [0.688225, 0.5455, 0.49])
    ours, _ = ppo.gae(REWARDS, VALUES, MASK, 1.0, 0.95)
    assert (ours - swapped).abs().max() > 0.02


def test_whitening_corrects_the_variance() -> None:
    """Divided by n - 1; the biased variance would be another result."""
    assert near(ppo.whiten(ADVANTAGES, MASK), [1.09136, -0.21904, -0.87232], 1e-5)
    padded = ppo.whiten(longer(ADVANTAGES), LONGER_MASK)
    assert near(padded, [1.09136, -0.21904, -0.87232, 0, 0], 1e-5)


def test_a_single_action_whitens_to_zero() -> None:
    """There is no variance, and nothing is divided by it."""
    assert near(ppo.whiten(torch.tensor([[0.7]]), torch.tensor([[True]])), [0.0])


def test_policy_loss_is_clipped() -> None:
    """Ratios 1.2214, 0.67032 and 1.10517; the first two are outside of 0.8 to 1.2."""
    new = torch.tensor([[-0.3, -1.4, -0.1]])
    advantages = torch.tensor([[1.0, -1.0, 0.5]])
    assert near(ppo.ratios(new, OLD, MASK), [1.22140, 0.67032, 1.10517], 1e-5)
    assert near(ppo.policy_losses(new, OLD, advantages, MASK, 0.2), [-0.31753], 1e-5)
    padded = ppo.policy_losses(longer(new), longer(OLD) - 3, longer(advantages), LONGER_MASK, 0.2)
    assert not near(padded, [-0.31753], 1e-5)  # the shift is seen inside of the mask
    padded = ppo.policy_losses(longer(new), longer(OLD), longer(advantages), LONGER_MASK, 0.2)
    assert near(padded, [-0.31753], 1e-5)
    ratio = ppo.ratios(longer(new), longer(OLD), LONGER_MASK)
    assert near(ppo.clip_fractions(ratio, LONGER_MASK, 0.2), [2 / 3])


def test_a_clipped_token_has_no_gradient() -> None:
    """Where a positive advantage has been followed far enough, and nowhere else."""
    new = torch.tensor([[-0.3, -1.4, -0.1]], requires_grad=True)
    ppo.policy_losses(new, OLD, torch.tensor([[1.0, -1.0, 0.5]]), MASK, 0.2).sum().backward()
    assert new.grad is not None
    # Only the third ratio is unclipped: -0.5 * 1.10517 / 3.
    assert near(new.grad, [0, 0, -0.184195], 1e-5)


def test_value_loss_is_clipped() -> None:
    """New values 0.6, 0.35 and 0.9 may be 0.4, 0.35 and 0.7; the worse of both counts."""
    new = torch.tensor([[0.6, 0.35, 0.9]])
    assert near(ppo.value_losses(new, VALUES, RETURNS, MASK, 0.2), [0.12535], 1e-5)
    # With the paper's coefficient, as it stands in the loss.
    assert near(5 * ppo.value_losses(new, VALUES, RETURNS, MASK, 0.2), [0.62676], 1e-5)
    padded = ppo.value_losses(longer(new), longer(VALUES), longer(RETURNS) + 1, LONGER_MASK, 0.2)
    assert not near(padded, [0.12535], 1e-5)
    padded = ppo.value_losses(longer(new), longer(VALUES), longer(RETURNS), LONGER_MASK, 0.2)
    assert near(padded, [0.12535], 1e-5)


def test_answers_count_alike_whatever_their_length() -> None:
    """The mean over answers of the mean over tokens is -0.3, where a token mean would be 0."""
    losses = torch.tensor([[0.3, 0.3, 0.3], [-0.9, JUNK, JUNK]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert float(ppo.answer_means(losses, mask).mean()) == pytest.approx(-0.3)
    assert float(losses[mask].mean()) == pytest.approx(0.0, abs=1e-6)


def test_kl_of_a_sequence_is_the_sum_over_its_actions() -> None:
    """0.2 - 0.1 + 0.2, padding left out."""
    assert near(ppo.sequence_kl(longer(OLD - REFERENCE), LONGER_MASK), [0.3])


def test_explained_variance() -> None:
    """1 for the returns themselves, 0 for their mean and where they do not vary."""
    mean = torch.full_like(RETURNS, float(RETURNS.mean()))
    assert near(ppo.explained_variance(RETURNS, RETURNS, MASK), [1.0])
    assert near(ppo.explained_variance(mean, RETURNS, MASK), [0.0])
    assert near(ppo.explained_variance(VALUES, torch.ones(1, 3), MASK), [0.0])
    # Var(R) = 0.000881, Var(R - V) = 0.015531 by hand, each divided by n - 1.
    error = (RETURNS - VALUES).var().item()
    wanted = 1 - error / RETURNS.var().item()
    assert near(
        ppo.explained_variance(longer(VALUES), longer(RETURNS), LONGER_MASK), [wanted], 1e-3
    )


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
