"""A yardstick: battles with the best model so far. See ``measuring``.

The replies of the best model are kept, not sampled again: its battles then are with what it said
once, also after an interruption, and a checkpoint costs one reply to each prompt.

Source: arXiv 2401.10020 section 3.1.3, which compares each checkpoint with the previous one and
does not spell out when it stops. Departure: a checkpoint meets the best one, so that several in a
row that are each hardly worse than the one before cannot lead downhill unseen.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import SeedPrompt
from autodidact_contract.stages.base import StageConfig
from autodidact_contract.stages.training import Selection
from autodidact_worker import generation
from autodidact_worker.generation.transformers import TransformersGenerator
from autodidact_worker.judging import contests
from autodidact_worker.judging.contests import Meeting, Verdict
from autodidact_worker.runtime import rows
from autodidact_worker.runtime.errors import StoppedError
from autodidact_worker.runtime.frame import Context
from autodidact_worker.training import distributed
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.validation import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Battles:
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
    checks: list[Battles] = field(default_factory=list)

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


class ByBattles:
    """Sampled replies to validation prompts, compared by the judge of a contest."""

    def __init__(self, context: Context[StageConfig], config: Selection) -> None:
        """Reads the prompts and opens the judge.

        A model that judges is loaded now: once a trainer has switched ZeRO-3 on, transformers
        takes every model apart that it loads.

        Args:
            context: With the input ``validation``, and ``referee`` where a model judges.
            config: How often, how long, and how two replies are compared.

        Raises:
            UserError: There is no such judge.
        """
        seeds = rows.read(context.inputs["validation"].path / rows.DATA, SeedPrompt)
        self._prompts = [row.prompt for row in seeds[: config.contest.prompts]]
        self._config, self._seed, self._stopping = config, context.config.seed, context.stopping
        referee = context.inputs.get("referee")
        self._judge = contests.open_judge(
            config.contest, self._seed, referee.path if referee else None
        )
        if referee:
            unset_hf_deepspeed_config()  # what is left of an earlier training of this process
            generation.load(referee.path)
        self._choice = Choice(config.patience)
        self._replies: list[str] = []
        self._unreadable = 0

    @property
    def kept(self) -> int:
        """Step of the best checkpoint; 0 is the model that training started from."""
        return self._choice.best

    @property
    def enough(self) -> bool:
        """Whether ``patience`` checkpoints in a row were no better."""
        return self._choice.enough

    def is_due(self, rounds: int, *, last: bool) -> bool:
        """Returns whether the model after so many rounds meets the best one."""
        return last or rounds % self._config.every_steps == 0

    def measure(
        self, model: Any, tokenizer: "PreTrainedTokenizerBase", step: int, layout: Layout
    ) -> bool:
        """Has a model answer and meet the best one; returns whether it is the best now.

        Raises:
            StoppedError: A rank was asked to stop; then all give up, and nothing is noted down.
        """
        prompts = self._prompts[layout.rank :: layout.world]
        replies: list[str] = []
        verdicts: list[tuple[Verdict, ...]] = []
        stopped = False
        try:
            replies = self._answers(TransformersGenerator(model, tokenizer), prompts)
            verdicts = self._compared(prompts, replies) if step else []
        except StoppedError:
            stopped = True
        if distributed.agreed(stopped, save=False, layout=layout)[0]:
            raise StoppedError
        better = not step or self._is_better(verdicts, step, layout)
        if better:
            self._replies = replies
        return better

    def lines(self) -> list[dict[str, float]]:
        """Returns step, wins, ties and losses of each check."""
        return self._choice.lines()

    def counts(self) -> dict[str, int]:
        """Returns nothing; what is counted is the same on every rank."""
        return {}

    def figures(self) -> tuple[dict[str, int], dict[str, Mean]]:
        """Returns which model is kept, after how many checks, and how many verdicts are unreadable."""
        return {
            "keptStep": self.kept,
            "checks": len(self._choice.checks),
            "invalid-verdicts": self._unreadable,
        }, {}

    def state(self) -> Mapping[str, Any]:
        """Returns the checks, and the best model's replies to our share of the prompts."""
        return {
            "checks": [asdict(check) for check in self._choice.checks],
            "replies": self._replies,
            "unreadable": self._unreadable,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes up what ``state`` returned."""
        self._choice.checks = [Battles(**check) for check in state["checks"]]
        self._replies, self._unreadable = state["replies"], state["unreadable"]

    def _answers(self, generator: TransformersGenerator, prompts: list[str]) -> list[str]:
        contest = self._config.contest
        with evaluating(generator.model):
            return contests.answer(generator, prompts, contest, self._seed, _ignore, self._stopping)

    def _compared(self, prompts: list[str], replies: list[str]) -> list[tuple[Verdict, ...]]:
        meetings = [
            Meeting(prompt=prompt, ours=ours, theirs=theirs)
            for prompt, ours, theirs in zip(prompts, replies, self._replies, strict=True)
        ]
        return self._judge.compare(meetings, _ignore, self._stopping)

    def _is_better(self, verdicts: list[tuple[Verdict, ...]], step: int, layout: Layout) -> bool:
        """Notes down how all ranks' battles went; returns whether more were won than lost."""
        results = Counter(contests.result(found) for found in verdicts)
        unreadable = sum(found.count("invalid") for found in verdicts)
        wins, ties, losses, unreadable = (
            round(total)
            for total in distributed.summed(
                [results["win"], results["tie"], results["loss"], unreadable], layout
            )
        )
        check = Battles(step=step, wins=wins, ties=ties, losses=losses)
        self._choice.checks.append(check)
        self._unreadable += unreadable
        log.info("step=%d wins=%d ties=%d losses=%d", step, wins, ties, losses)
        return check.better


def _ignore(_: int) -> None:
    """Ignores replies: progress of a training is reported in steps."""
