"""PPO's mathematics on values computed by hand, and the networks it is applied to."""

import pytest
import torch
from torch import Tensor

from autodidact_worker.training.online import ppo
from support.tensors import near

MASK = torch.ones(1, 3, dtype=torch.bool)


OLD = torch.tensor([[-0.5, -1.0, -0.2]])


REFERENCE = torch.tensor([[-0.7, -0.9, -0.4]])


VALUES = torch.tensor([[0.2, 0.4, 0.5]])


REWARDS = torch.tensor([[-0.01, 0.005, 0.99]])


ADVANTAGES = torch.tensor([[0.731975, 0.5705, 0.49]])


RETURNS = torch.tensor([[0.931975, 0.9705, 0.99]])


# What lies outside of the mask; it must change nothing.
JUNK = 77.0


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
