"""Which checkpoint of a training is the best so far, by battles with the one that was. Pure.

Source: arXiv 2401.10020 section 3.1.3, which compares each checkpoint with the previous one and
does not spell out when it stops. Departure: a checkpoint meets the best one, so that several in a
row that are each hardly worse than the one before cannot lead downhill unseen.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Check:
    """Battles of a checkpoint with the best one before it.

    Attributes:
        step: Optimiser steps of the checkpoint.
        wins: Battles that it won.
        ties: Battles that nobody won.
        losses: Battles that it lost.
    """

    step: int
    wins: int
    ties: int
    losses: int

    @property
    def better(self) -> bool:
        """Whether it is the best now; a draw is not enough."""
        return self.wins > self.losses


@dataclass
class Choice:
    """What the checks so far say.

    Attributes:
        patience: Checkpoints in a row that are not better, after which it is enough.
        checks: In order.
    """

    patience: int
    checks: list[Check] = field(default_factory=list)

    @property
    def best(self) -> int:
        """Step of the best checkpoint; 0 is the model that training started from."""
        return max((check.step for check in self.checks if check.better), default=0)

    @property
    def enough(self) -> bool:
        """Whether the last ``patience`` checkpoints were no better than the best before them."""
        last = self.checks[-self.patience :]
        return len(last) == self.patience and not any(check.better for check in last)

    def lines(self) -> list[dict[str, float]]:
        """Returns the checks as lines of the training curve."""
        return [
            {"step": check.step, "wins": check.wins, "ties": check.ties, "losses": check.losses}
            for check in self.checks
        ]
