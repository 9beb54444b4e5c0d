"""The rounds of a SelfRewardRun: from M(t) to M(t+1) (arXiv 2401.10020, sections 2.4 and 3.1.3).

M(t) judges itself and answers in round t, and is both the start and the frozen reference of the DPO
that makes M(t+1). ``evaluate-0`` measures M1, ``evaluate-<t>`` measures M(t+1).

A plain round is the paper's; what options add to it is in ``round_options``.

Departure: where prompts.model is unset, the fixed prompt writer is M1; the paper's is a model of
its own.
"""

from dataclasses import dataclass, replace

from autodidact_contract import stages as s
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs import gates, referees
from autodidact_operator.plan.graphs import round_options as options
from autodidact_operator.plan.graphs.parts import sampling, training
from autodidact_operator.plan.graphs.seed import EFT, Seed
from autodidact_operator.plan.types import Line, Stage

SCORES = range(6)
"""Of the rubrics there are."""


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Stages of the rounds; ``t`` is always a round's number, from 1 on.

    Attributes:
        spec: The run's spec.
        start: Everything up to M1.
    """

    spec: SelfRewardSpec
    start: Seed

    def model(self, t: int) -> str:
        """Returns the stage that makes M(t)."""
        if t == 1:
            return self.start.first
        made = "train-dpo" if self.spec.learning == "dpo" else "train-positive"
        return f"{made}-{t - 1}"

    def line(self, t: int) -> Line:
        """Returns the line of history of M(t+1); t may be 0."""
        positive, verified = self.spec.learning == "positive", self.spec.reward == "verifier"
        figures: dict[str, tuple[str, str | tuple[str, ...]]] = {
            "pairs": (f"build-positives-{t}", "positives")
            if positive
            else (f"build-pairs-{t}", "pairs"),
            "mean_score": (f"build-pairs-{t}" if verified else f"judge-{t}", "score"),
            "quality": (f"evaluate-{t}", "quality"),
            "win_rate": (f"evaluate-{t}", "winRate"),
            "gain": (f"evaluate-{t}", "gain"),
            "length_ratio": (f"evaluate-{t}", "lengthRatio"),
            "judge_accuracy": (f"evaluate-{t}", "pairwiseAccuracy"),
        }
        if t == 0 and self.start.evaluations == EFT:
            figures |= {
                "acceptance": (EFT, "acceptance"),
                "scores_before": (EFT, tuple(f"before-{score}" for score in SCORES)),
                "scores_after": (EFT, tuple(f"after-{score}" for score in SCORES)),
            }
        return Line(iteration=t, name=f"M{t + 1}", model=self.model(t + 1), figures=figures)

    def stages(self, t: int) -> list[Stage]:
        """Returns the stages from M(t) to M(t+1), and its evaluation."""
        scored = [self._prompts(t), self.replies(t), self._checked(t)]
        if self.spec.reward == "verifier":
            scored = [options.verified(self, t)]
        if self.spec.learning == "positive":
            return [*scored, *options.positives(self, t), self.evaluation(t)]
        return [
            *scored,
            *options.anchors(self, t),
            *options.scores_by_previous(self, t),
            options.paired(self, t, self._pairs(t)),
            *options.judge_pairs(self, t),
            options.trained(self, t, self._dpo(t)),
            self.evaluation(t),
        ]

    def _job(self, name: str, t: int) -> str:
        """Stages of one model share one process where one pod does each of them whole."""
        return f"sample-{t}" if self.spec.shards == 1 else f"{name}-{t}"

    def after(self, t: int) -> tuple[str, ...]:
        """Returns what all of a round waits for: its model, and its figures where they are gated."""
        model = self.model(t)
        return (model, f"evaluate-{t - 1}") if gates.waits(self.spec) else (model,)

    def sampled(self, name: str, t: int, config: s.AnyStage, **inputs: str) -> Stage:
        """Returns a sharded stage of round t."""
        return Stage(
            name=f"{name}-{t}",
            config=config,
            job=self._job(name, t),
            iteration=t,
            inputs=inputs,
            shards=self.spec.shards,
        )

    def _prompts(self, t: int) -> Stage:
        wanted = self.spec.prompts
        writer = self.model(t) if wanted.generator == "self" else self.model(1)
        if wanted.generator == "fixed" and wanted.model:
            writer = "import-writer"
        earlier = {f"accepted-{i}": f"generate-prompts-{i}" for i in range(1, t)}
        config = s.GeneratePrompts(
            # The same writer must not write the same prompts again in the next iteration.
            seed=self.spec.seed + t - 1,
            rubric=self.spec.judge.rubric,
            count=wanted.per_iteration,
            sampling=sampling(wanted),
            seed_demonstrations=wanted.seed_demonstrations,
            generated_demonstrations=wanted.generated_demonstrations,
            min_words=wanted.min_words,
            max_words=wanted.max_words,
            excluded_words=wanted.excluded_words,
            max_rouge=wanted.max_rouge,
            attempts_per_prompt=wanted.attempts_per_prompt,
        )
        return Stage(
            name=f"generate-prompts-{t}",
            config=config,
            job=self._job("generate-prompts", t),
            iteration=t,
            inputs={"model": writer, "instructions": self.start.instructions, **earlier},
            after=self.after(t),
        )

    def replies(self, t: int, name: str = "generate-responses", by: int | None = None) -> Stage:
        """Returns the stage of replies to the prompts of round t, by M(t) unless said otherwise."""
        config = s.GenerateResponses(
            seed=self.spec.seed,
            per_prompt=self.spec.responses.per_prompt,
            sampling=sampling(self.spec.responses),
        )
        model = self.model(t if by is None else by)
        return self.sampled(name, t, config, model=model, prompts=f"generate-prompts-{t}")

    def scores(self, t: int, name: str, replies: str, by: int | None = None) -> Stage:
        """Returns the stage that scores replies of round t, by M(t) unless said otherwise."""
        judge = t if by is None else by
        if self.spec.reward == "implicit":
            return options.implicit(self, t, name, replies, judge)
        wanted = self.spec.judge
        config = s.Judge(
            seed=self.spec.seed,
            rubric=wanted.rubric,
            votes=wanted.votes,
            min_valid=wanted.min_valid,
            allow_fractional=wanted.allow_fractional,
            sampling=sampling(wanted),
        )
        return self.sampled(name, t, config, model=self.model(judge), responses=f"{replies}-{t}")

    def _checked(self, t: int) -> Stage:
        scores = self.scores(t, "judge", "generate-responses")
        return replace(scores, checks=gates.judging(self.spec))

    def _pairs(self, t: int) -> Stage:
        wanted = self.spec.pairs
        config = s.BuildPairs(
            seed=self.spec.seed,
            tie_break=wanted.tie_break,
            min_score_gap=wanted.min_score_gap,
            exclude_truncated=wanted.exclude_truncated,
        )
        return Stage(
            name=f"build-pairs-{t}",
            config=config,
            job=f"build-pairs-{t}",
            iteration=t,
            inputs={"judged": f"judge-{t}"},
            checks=gates.pairing(self.spec),
        )

    def _dpo(self, t: int) -> Stage:
        wanted = self.spec.dpo
        config = s.TrainDpo.model_validate(
            {
                **training(self.spec, wanted),
                "beta": wanted.beta,
                "nll_coefficient": wanted.nll_coefficient,
            }
        )
        return Stage(
            name=f"train-dpo-{t}",
            config=config,
            job=f"train-dpo-{t}",
            iteration=t,
            inputs={"model": self.model(t), "pairs": f"build-pairs-{t}"},
        )

    def evaluation(self, t: int) -> Stage:
        """Returns the stage that measures M(t+1); t may be 0."""
        wanted = self.spec.evaluation
        opponents = {"baseline": self.start.baseline}
        if t:
            opponents |= {"previous": self.model(t), "first": self.model(1)}
        met: dict[str, str] = {n: opponents[n] for n in wanted.against if opponents.get(n)}
        referee = referees.appoint(
            wanted, first=self.model(1), current=self.model(max(t, 1)), fixed="import-judge"
        )
        if not met:
            referee = replace(referee, inputs={}, secret=None)
        config = s.Evaluate(
            seed=self.spec.seed,
            votes=self.spec.judge.votes,
            min_valid=self.spec.judge.min_valid,
            allow_fractional=self.spec.judge.allow_fractional,
            contest=referees.contest(self.spec, referee, wanted.prompts),
        )
        return Stage(
            name=f"evaluate-{t}",
            config=config,
            job=f"evaluate-{t}",
            iteration=t,
            inputs={
                "model": self.model(t + 1),
                "heldout": self.start.held_out,
                **met,
                **referee.inputs,
            },
            shards=self.spec.shards,
            checks=gates.evaluation(self.spec, t),
            secret=referee.secret,
        )
