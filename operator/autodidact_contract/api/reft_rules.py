"""Rules between the fields of a ReFTRun."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from autodidact_contract.api.answers import LATEX
from autodidact_contract.api.rules import Rule
from autodidact_contract.api.training import falls

if TYPE_CHECKING:
    from autodidact_contract.api.reft import ReFTSpec, Rollouts


def _samples_alone(part: str, fields: "Callable[[ReFTSpec], Rollouts]") -> "Rule[ReFTSpec]":
    """Returns the rule that the policy that samples is the one that learns."""
    return Rule(
        message=f"{part}.dropout must be 0: the policy that samples is the policy that learns",
        cel=f"self.{part}.dropout == 0.0",
        holds=lambda spec: fields(spec).dropout == 0,
    )


def _leaves_room(part: str, fields: "Callable[[ReFTSpec], Rollouts]") -> "Rule[ReFTSpec]":
    """Returns the rule that a question leaves tokens for its answer."""
    return Rule(
        message=f"{part}.maxQuestionTokens must be below {part}.maxLength",
        cel=f"self.{part}.maxQuestionTokens < self.{part}.maxLength",
        holds=lambda spec: fields(spec).max_question_tokens < fields(spec).max_length,
    )


RULES: "tuple[Rule[ReFTSpec], ...]" = (
    Rule(
        message="warmUp.stopEpochs must not be above warmUp.epochs",
        cel="self.warmUp.stopEpochs <= self.warmUp.epochs",
        holds=lambda spec: spec.warm_up.stop_epochs <= spec.warm_up.epochs,
    ),
    LATEX,
    Rule(
        message="baselines must not name one twice",
        cel="self.baselines.all(b, self.baselines.exists_one(other, other == b))",
        holds=lambda spec: len(set(spec.baselines)) == len(spec.baselines),
    ),
    Rule(
        message="reranker.enabled needs voting.samples of at least 2",
        cel="!self.reranker.enabled || self.voting.samples >= 2",
        holds=lambda spec: not spec.reranker.enabled or spec.voting.samples >= 2,
    ),
    Rule(
        message="ppo.batchSize must be a multiple of ppo.miniBatchSize",
        cel="!has(self.ppo.miniBatchSize) || self.ppo.batchSize % self.ppo.miniBatchSize == 0",
        holds=lambda spec: (
            spec.ppo.mini_batch_size is None or spec.ppo.batch_size % spec.ppo.mini_batch_size == 0
        ),
    ),
    _samples_alone("ppo", lambda spec: spec.ppo),
    _leaves_room("ppo", lambda spec: spec.ppo),
    _samples_alone("grpo", lambda spec: spec.grpo),
    _leaves_room("grpo", lambda spec: spec.grpo),
    falls("warmUp", lambda spec: spec.warm_up),
    falls("ppo", lambda spec: spec.ppo),
    falls("grpo", lambda spec: spec.grpo),
    falls("reranker", lambda spec: spec.reranker),
)
