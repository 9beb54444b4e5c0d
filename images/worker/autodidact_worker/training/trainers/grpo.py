"""GRPO by TRL, with our sampling and our rewards, and the settings of its paper.

Source: arXiv 2402.03300 section 4.1. All that TRL would do otherwise is set in ``arguments``. The
advantage of an answer is (reward - mean) / (std + 1e-4) in its group, with n - 1 in the std; the
1e-4 is TRL's, the paper has none.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from autodidact_contract.artifacts import Mean
from autodidact_contract.records import Problem
from autodidact_contract.stages.training import TrainGrpo
from autodidact_worker.answers import grading
from autodidact_worker.answers.grading import Grade, Grader
from autodidact_worker.generation import Completion
from autodidact_worker.models import loading, lora
from autodidact_worker.runtime.clock import Clock
from autodidact_worker.runtime.frame import Context, Output
from autodidact_worker.training import distributed, health, validation
from autodidact_worker.training.distributed import Layout
from autodidact_worker.training.online import rollouts
from autodidact_worker.training.online.rollouts import Sampler, Visit
from autodidact_worker.training.schedule import micro_batches
from autodidact_worker.training.start import Start
from autodidact_worker.training.trainers import run
from autodidact_worker.training.trainers.adapter import Adapter
from autodidact_worker.training.trainers.measuring import Measuring

log = logging.getLogger(__name__)

ROLLOUT = (
    "reward",
    "sampledAccuracy",
    "truncation",
    "unread",
    "timeouts",
    "queryLength",
    "answerLength",
    "uniqueTexts",
    "uniqueValues",
)
"""Figures of the rollout that a step learned from, see ``rollouts.figures``."""

UNFELT = math.ulp(0.0)
"""A weight that is not 0, but whose product with any finite number of the loss is."""


def train(
    context: Context[TrainGrpo],
    begin: Start,
    problems: Sequence[Problem],
    layout: Layout,
    grader: Grader,
    measuring: Measuring,
) -> Output:
    """Trains on groups of sampled answers and writes the model.

    Args:
        context: The stage.
        begin: What the training starts from, and its reference.
        problems: The training questions.
        layout: On what it runs.
        grader: Made with ``config.answers``.
        measuring: Measures the model on the way.

    Raises:
        StoppedError: Asked to stop; a checkpoint is in the store.
        UserError: ``NoReward``, ``AllAnswersCut``, ``NaNLoss``, ``PromptTooLong``,
            ``InvalidBatchSize``, ``DropoutNotApplicable``, ``LoraNotApplicable`` or
            ``WrongWorldSize``.
    """
    config = context.config
    health.check_dropout(config)
    count = max(1, round(config.epochs * len(problems) / config.batch_size))
    visits = rollouts.visits(len(problems), 0, count * config.batch_size, config.seed)
    rollout = Rollout(
        config, Sampler(problems, begin.tokenizer, begin.limit, config, layout), grader, layout
    )
    trainer = _Grpo(
        model=begin.model,
        reward_funcs=rollout.rewards,
        args=arguments(context, layout),
        train_dataset=Dataset.from_dict(
            {
                "prompt": [problems[visit.question].prompt for visit in visits],
                "question": [visit.question for visit in visits],
                "number": [visit.number for visit in visits],
            }
        ),
        processing_class=begin.tokenizer,
        peft_config=lora.config(begin.model, config.lora),
    )
    trainer.rollout, trainer.round_steps = rollout, config.passes
    trainer.trial = health.trial(count, len(problems), config.batch_size)
    schedule = count * config.passes
    every = range(len(visits))
    trainer.adapt(context, begin, layout, taken=every, schedule=schedule, measuring=measuring)
    run.run(trainer)
    tally = rollout.tally
    found = run.output(
        trainer,
        {
            "rows": len(problems),
            "rollouts": tally.rollouts,
            "answers": tally.answers,
            "tokens": tally.tokens,
        },
    )
    kl = trainer.last_kl()
    last = {} if kl is None else {"lastKl": Mean(total=kl)}
    return replace(found, metrics={**found.metrics, **last}, seconds=rollout.clock.seconds)


def arguments(context: Context[TrainGrpo], layout: Layout) -> GRPOConfig:
    """Returns TRL's settings for a GRPO stage: those of the paper wherever it says something.

    A step has all the answers of a rollout, and a rollout is learned from ``passes`` times. What
    is 0, off or None here is an addition of TRL's to the paper.
    """
    config = context.config
    answers = config.model_copy(update={"batch_size": config.batch_size * config.group_size})
    return GRPOConfig(
        **run.arguments(context, layout, micro_batches(answers, layout.world)),
        shuffle_dataset=False,  # the order of visits is ours
        remove_unused_columns=False,
        # Section 4.1.1: a mean over an answer's tokens, then over answers; token by token.
        loss_type="grpo",
        importance_sampling_level="token",
        num_generations=config.group_size,
        num_iterations=config.passes,
        epsilon=config.clip_ratio,
        epsilon_high=None,  # the same
        delta=None,
        # TRL measures the KL only where it has a weight.
        beta=config.beta or (0.0 if config.max_kl is None else UNFELT),
        use_bias_correction_kl=False,
        # Section 4.1.2: rewards are normalised in their group.
        scale_rewards="group",
        # Cut answers have their reward and are learned from.
        mask_truncated_completions=False,
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        entropy_coef=0.0,
        use_adaptive_entropy=False,
        # The reference is the start, always; the paper renews it between its iterations.
        sync_ref_model=False,
        # There is none, see above. TRL would switch it off without a word.
        disable_dropout=False,
        # Sampling is ours; TRL divides logits by the temperature before it compares them.
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
        top_k=0,
        min_p=None,
        repetition_penalty=1.0,
        max_completion_length=config.sampling.max_new_tokens,
        use_vllm=False,
        cast_lm_head_to_fp32=False,
    )


@dataclass
class Tally:
    """Sums over all rollouts so far and over all ranks.

    Attributes:
        rollouts: How many.
        answers: Their answers.
        tokens: Of these.
        rewarded: Whether any reward was above 0.
        ended: Whether any answer ended by itself.
        graded: What this rank's graders of earlier attempts counted.
        seconds: Wall time of sampling, reward and learning on this rank.
    """

    rollouts: int = 0
    answers: int = 0
    tokens: int = 0
    rewarded: bool = False
    ended: bool = False
    graded: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Rollout:
    """The answers that are being learned from, and their rewards.

    Attributes:
        clock: Wall time of each phase on this rank, earlier attempts included.
    """

    def __init__(self, config: TrainGrpo, sampler: Sampler, grader: Grader, layout: Layout) -> None:
        """Keeps what samples answers and what grades them.

        Args:
            config: Group size and rewards.
            sampler: Of the training questions.
            grader: Made with ``config.answers``.
            layout: Whose share is ours.
        """
        self.tally, self.clock = Tally(), Clock()
        self.figures: dict[str, float] = {}
        self._config, self._sampler, self._grader = config, sampler, grader
        self._layout = layout
        self._visits: list[Visit] = []
        self._completions: list[Completion] = []

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Notes the questions; each comes once for each of its answers, and these are neighbours.

        Args:
            rows: Our share: as many as any rank's, in the order of ranks.
        """
        size, first = self._config.group_size, self._layout.rank * len(rows)
        self._visits = [
            # Another number is another answer, and the same one whoever samples it.
            Visit(question=row["question"], number=row["number"] * size + place % size)
            for place, row in enumerate(rows, first)
        ]

    def sample(self, model: Any) -> list[list[int]]:
        """Returns the tokens of our answers."""
        with self.clock("sampling"):
            self._completions = self._sampler.sample(model, self._visits)
        return [list(completion.ids) for completion in self._completions]

    def rewards(self, **_: object) -> list[float | None]:
        """Returns the rewards of our answers."""
        with self.clock("reward"):
            found = self._sampler.graded(self._visits, self._completions, self._grader, self._score)
        self.figures = rollouts.figures(found, self._layout)
        tally, answers = self.tally, len(found) * self._layout.world
        tally.rollouts += 1
        tally.answers += answers
        tally.tokens += round(self.figures["answerLength"] * answers)
        tally.rewarded |= self.figures["rewarded"] > 0
        tally.ended |= self.figures["truncation"] < 1
        return [answer.reward for answer in found]

    def graded(self) -> dict[str, int]:
        """Returns what this rank's graders counted, earlier attempts included."""
        return grading.added(self.tally.graded, self._grader.counts())

    def save(self, path: Path) -> None:
        """Writes what a resumed training needs."""
        tally = replace(self.tally, graded=self.graded(), seconds=self.clock.seconds)
        path.write_text(json.dumps(asdict(tally)))

    def load(self, path: Path) -> None:
        """Takes up what ``save`` wrote."""
        self.tally = Tally(**json.loads(path.read_text()))
        self.clock = Clock(self.tally.seconds)

    def _score(self, grade: Grade, completion: Completion) -> float:
        config = self._config
        return grading.reward(grade, completion.finish, config.reward, config.answers.kind)


class _Grpo(Adapter, GRPOTrainer):
    """TRL's GRPO with the adapter, our sampling, and the KL of whole answers."""

    LOGGED: ClassVar = {
        "frac_reward_zero_std": "groupsAllEqual",
        "sequence_kl": "kl",
        "clip_ratio/region_mean": "clipFraction",
        "entropy": "entropy",
        **{name: name for name in ROLLOUT},
    }

    ours: Context[TrainGrpo]
    rollout: Rollout
    trial: int

    def graded(self) -> dict[str, int]:
        """Returns what this rank counted of the answers that were learned from."""
        return self.rollout.graded()

    def save_progress(self, folder: Path) -> None:
        """Writes what a resumed training needs besides weights and states to a folder."""
        super().save_progress(folder)
        self.rollout.save(folder / self._tally_file())

    def load_progress(self, folder: Path) -> None:
        """Takes up what ``save_progress`` wrote."""
        super().load_progress(folder)
        self.rollout.load(folder / self._tally_file())

    def last_kl(self) -> float | None:
        """Returns the KL, in nats an answer, of the last rollout's policy from the reference.

        It is the mean of an answer's sum of the paper's estimator (equation 4) over its tokens.
        """
        # In a rollout's first pass the policy is the one that sampled it.
        passes = self.ours.config.passes
        first = [line for line in run.history_of(self) if (line["step"] - 1) % passes == 0]
        return first[-1].get("kl") if first else None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs a step; ends the training after a rollout whose KL is too large."""
        if "loss" in logs:
            # TRL's own mean of the rewards, of the same name, is one in float32.
            figures = self.rollout.figures.items()
            self._metrics["train"].update({name: [value] for name, value in figures})
        super().log(logs, start_time)
        limit, kl = self.ours.config.max_kl, self.last_kl()
        over = self.state.global_step % self.round_steps == 0 and "loss" in logs
        if over and limit is not None and kl is not None and kl > limit:
            log.warning("KL %.3g of step %d is above %.3g", kl, self.state.global_step, limit)
            self.control.should_evaluate = True
            self.end()

    def training_step(self, *arguments: Any, **named: Any) -> Any:
        """Samples where a rollout begins, and learns; the optimiser's own step comes after it."""
        with self.rollout.clock("learning"):
            return super().training_step(*arguments, **named)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.rollout.begin(inputs)
        found: dict[str, Any] = super()._generate_and_score_completions(inputs)
        tally = self.rollout.tally
        if tally.rollouts == self.trial:
            health.check(
                self.ours.config,
                rollouts=tally.rollouts,
                answers=tally.answers,
                ended=tally.ended,
                rewarded=tally.rewarded,
                limit=self.begin.limit,
            )
        return found

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Renders prompts as all of our stages do."""
        return [loading.prompt_ids(self.begin.tokenizer, text) for text in prompts], None, {}

    def _generate_single_turn(self, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        """Samples with noise that depends on seed, question, visit and place in the group alone.

        So answers do not depend on how they are batched or spread, and a resumed training has no
        state of sampling to restore.
        """
        with (
            unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model,
            validation.evaluating(model),
        ):
            return self.rollout.sample(model), None

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        loss = super()._compute_loss(model, inputs)
        if self.beta:
            # TRL's figure is a mean over all tokens of all ranks' passes.
            mask = inputs["completion_mask"]
            tokens, answers = distributed.summed([int(mask.sum()), len(mask)], self.layout)
            figures = self._metrics["train"]
            figures["sequence_kl"].append(figures["kl"][-1] * tokens / answers)
        return loss

    def _tally_file(self) -> str:
        return f"rollouts-{self.layout.rank}.json"
