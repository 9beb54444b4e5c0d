"""PPO as ReFT has it, as functions of tensors; nothing here knows a model, a rank or a file.

Shapes: ``B`` answers, ``T`` actions of the longest of them. Action ``t`` is the token that the
state before it predicts, so its log-probability and its value are read where the model predicts it;
the end token is an action like any other. ``mask`` is true on an answer's actions, which begin at
column 0. What lies outside of the mask never counts, whatever it is.

Source: arXiv 2401.08967 section 3.2 and its published code, which decides where the two differ.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Total = Callable[[Tensor], Tensor]
"""Sums a tensor over all ranks, and gives every rank the sum."""


EPSILON = 1e-8
"""Added to the variance when whitening, as the published code does."""


def alone(tensor: Tensor) -> Tensor:
    """The sum over all ranks of one rank."""
    return tensor


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Returns the reward of each action: its KL penalty, and the answer's score on the last one.

    ``r_t = [t is last] score - beta k_t``. A cut answer has its score on its last action too.

    Args:
        scores: ``(B,)`` float32, the terminal rewards.
        kl: ``(B, T)`` float32, ``k_t = log pi_old(a_t) - log pi_0(a_t)`` of the sampled tokens.
        mask: ``(B, T)`` bool; at least one action each.
        beta: Weight of the penalty; it falls on every action, the end token included.

    Returns:
        ``(B, T)`` float32, 0 outside of the mask.

    Source: section 3.2, "r_total". Departure of the published code from the text: a one-sample
    estimate (k1) stands for the KL of the whole distributions.
    """
    rewards = torch.where(mask, -beta * kl, 0.0)
    last = mask.sum(1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores[:, None])


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Returns advantages and returns by generalised advantage estimation.

    ``delta_t = r_t + gamma V_{t+1} - V_t``, ``A_t = sum_l (gamma lambda)^l delta_{t+l}`` and
    ``R_t = A_t + V_t``. V is 0 outside of the mask, so nothing is bootstrapped after the last
    action, also where an answer was cut.

    Args:
        rewards: ``(B, T)`` float32.
        values: ``(B, T)`` float32.
        mask: ``(B, T)`` bool.
        gamma: Discount; 1 in the published code. The paper's text has the values of gamma and
            lambda the other way round.
        gae_lambda: 0.95 in the published code.

    Returns:
        Two of ``(B, T)`` float32, 0 outside of the mask.
    """
    values = torch.where(mask, values, 0.0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    deltas = torch.where(mask, rewards + gamma * following - values, 0.0)
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        running = deltas[:, t] + gamma * gae_lambda * running
        advantages[:, t] = running
    return advantages, advantages + values


def moments(values: Tensor, mask: Tensor, total: Total = alone) -> tuple[Tensor, Tensor]:
    """Returns mean and variance over the masked entries of all ranks, two float32 scalars.

    The variance has the n/(n-1) correction, and is 0 for a single entry.

    Args:
        values: Any shape, float.
        mask: The same shape, bool.
        total: Sums over ranks.
    """
    kept = torch.where(mask, values.float(), 0.0)
    sums = total(torch.stack([kept.sum(), mask.sum().float()]))
    mean = sums[0] / sums[1]
    squares = total((torch.where(mask, values.float() - mean, 0.0) ** 2).sum())
    return mean, squares / (sums[1] - 1).clamp(min=1)


def whiten(values: Tensor, mask: Tensor, total: Total = alone) -> Tensor:
    """Returns values with mean 0 and variance 1 over the masked entries of all ranks.

    Args:
        values: ``(B, T)`` float32.
        mask: ``(B, T)`` bool.
        total: Sums over ranks.

    Returns:
        ``(B, T)`` float32, 0 outside of the mask; a single entry becomes 0.

    Source: ``allgather_masked_whiten`` of the published code. Departure: there a single entry is
    0/0.
    """
    mean, variance = moments(values, mask, total)
    return torch.where(mask, (values - mean) * torch.rsqrt(variance + EPSILON), 0.0)


def answer_means(values: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean of each answer over its own actions, ``(B,)``."""
    return torch.where(mask, values, 0.0).sum(1) / mask.sum(1)


def ratios(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor) -> Tensor:
    """Returns ``pi(a_t) / pi_old(a_t)`` of each action, ``(B, T)`` float32; 1 outside of the mask."""
    return torch.where(mask, log_probs - old_log_probs, 0.0).exp()


def policy_losses(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """Returns the clipped policy loss of each answer, a mean over its actions.

    ``max(-A rho, -A clip(rho, 1 - clip, 1 + clip))`` with ``rho = exp(log pi - log pi_old)``. The
    loss is the mean of these over answers: a token of a short answer weighs more.

    Args:
        log_probs: ``(B, T)`` float32 with gradient.
        old_log_probs: ``(B, T)`` float32, of the policy that sampled.
        advantages: ``(B, T)`` float32, whitened.
        mask: ``(B, T)`` bool.
        clip: Epsilon.

    Returns:
        ``(B,)`` float32.
    """
    ratio = ratios(log_probs, old_log_probs, mask)
    losses = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    return answer_means(losses, mask)


def value_losses(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """Returns the clipped value loss of each answer, a mean over its actions.

    ``0.5 max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2)``; averaged as the policy's.

    Args:
        values: ``(B, T)`` float32 with gradient.
        old_values: ``(B, T)`` float32, when the answers were sampled.
        returns: ``(B, T)`` float32.
        mask: ``(B, T)`` bool.
        clip: How far a value may move in one rollout.

    Returns:
        ``(B,)`` float32.

    Source: the published code; the text clips ``V - R`` around the advantage, which is the same up
    to a sign slip.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    losses = 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    return answer_means(losses, mask)


def sequence_kl(kl: Tensor, mask: Tensor) -> Tensor:
    """Returns the KL of each answer in nats, the sum over its actions, ``(B,)``."""
    return torch.where(mask, kl, 0.0).sum(1)


def clip_fractions(ratio: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Returns the share of each answer's actions whose ratio is not within ``clip`` of 1, ``(B,)``."""
    return answer_means(((ratio - 1).abs() > clip).float(), mask)


def explained_variance(
    values: Tensor, returns: Tensor, mask: Tensor, total: Total = alone
) -> Tensor:
    """Returns ``1 - Var(R - V) / Var(R)`` over the actions of all ranks, a scalar.

    1 is a perfect value head and 0 one that knows the mean at best; 0 too where the returns do not
    vary.
    """
    _, error = moments(returns - values, mask, total)
    _, spread = moments(returns, mask, total)
    return torch.where(spread > 0, 1 - error / spread, 0.0)
