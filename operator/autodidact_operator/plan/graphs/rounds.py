"""The rounds of a SelfRewardRun: from M(t) to M(t+1) (arXiv 2401.10020, sections 2.4 and 3.1.3).

M(t) judges itself and answers in round t, and is both the start and the frozen reference of the DPO
that makes M(t+1). ``evaluate-0`` measures M1, ``evaluate-<t>`` measures M(t+1).

Departure: where prompts.model is unset, the fixed prompt writer is M1; the paper's is a model of
its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from autodidact_contract import stages as s
from autodidact_contract.api.referee import Referee
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs import gates
from autodidact_operator.plan.graphs.parts import IMPORT, sampling, training
from autodidact_operator.plan.graphs.seed import EFT, Seed, sft
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

    def questions(self) -> list[Stage]:
        """Returns the stage that checks the questions, where their answers are the reward."""
        if self.spec.reward != "verifier":
            return []
        config = s.PrepareQuestions(
            seed=self.spec.seed,
            split="validation",  # their reasoning is not needed
            answers=self._answers,
            max_question_tokens=self.spec.dpo.max_length - 1,
            max_length=self.spec.dpo.max_length,
        )
        inputs = {"questions": "import-questions", "model": "import-model"}
        brought = {stage.name: stage.job for stage in self.start.stages}
        together = all(brought[name] == IMPORT for name in inputs.values())
        job = IMPORT if together else "prepare"
        return [Stage(name="prepare-questions", config=config, job=job, inputs=inputs)]

    def stages(self, t: int) -> list[Stage]:
        """Returns the stages from M(t) to M(t+1), and its evaluation."""
        if self.spec.reward == "verifier":
            scored = [self._sample(t)]
        else:
            scored = [self._prompts(t), self._replies(t), self._score(t)]
        if self.spec.learning == "positive":
            return [*scored, self._positives(t), self._sft(t), self.evaluation(t)]
        return [
            *scored,
            *self._anchors(t),
            *self._scores_by_previous(t),
            self._pairs(t),
            *self._judge_pairs(t),
            self._dpo(t),
            self.evaluation(t),
        ]

    def _job(self, name: str, t: int) -> str:
        """Stages of one model share one process where one pod does each of them whole."""
        return f"sample-{t}" if self.spec.shards == 1 else f"{name}-{t}"

    def _after(self, t: int) -> tuple[str, ...]:
        """All of a round waits for its model, and for that model's figures where they are gated."""
        model = self.model(t)
        return (model, f"evaluate-{t - 1}") if gates.waits(self.spec) else (model,)

    def _sampled(self, name: str, t: int, config: s.AnyStage, **inputs: str) -> Stage:
        """Returns a sharded stage of round t."""
        return Stage(
            name=f"{name}-{t}",
            config=config,
            job=self._job(name, t),
            iteration=t,
            inputs=inputs,
            shards=self.spec.shards,
        )

    @property
    def _answers(self) -> s.Answers:
        return s.Answers.model_validate(self.spec.answers.model_dump(by_alias=False))

    def _sample(self, t: int) -> Stage:
        config = s.Sample(
            seed=self.spec.seed + t - 1,
            per_question=self.spec.responses.per_prompt,
            greedy=False,
            sampling=sampling(self.spec.responses),
            answers=self._answers,
        )
        inputs = {"model": self.model(t), "questions": "prepare-questions"}
        return replace(self._sampled("sample", t, config, **inputs), after=self._after(t))

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
            after=self._after(t),
        )

    def _replies(self, t: int, name: str = "generate-responses", by: int | None = None) -> Stage:
        """Returns the stage of replies to the prompts of round t, by M(t) unless said otherwise."""
        config = s.GenerateResponses(
            seed=self.spec.seed,
            per_prompt=self.spec.responses.per_prompt,
            sampling=sampling(self.spec.responses),
        )
        model = self.model(t if by is None else by)
        return self._sampled(name, t, config, model=model, prompts=f"generate-prompts-{t}")

    def _score(self, t: int) -> Stage:
        scores = self._scores(t, "judge", "generate-responses")
        return replace(scores, checks=gates.judging(self.spec))

    def _scores(self, t: int, name: str, replies: str, by: int | None = None) -> Stage:
        """Returns the stage that scores replies of round t, by M(t) unless said otherwise."""
        judge = t if by is None else by
        inputs = {"model": self.model(judge), "responses": f"{replies}-{t}"}
        if self.spec.reward == "judge":
            return self._sampled(name, t, self._judge(), **inputs)
        before = self.model(judge - 1) if judge > 1 else "import-model"
        config = s.ImplicitReward(seed=self.spec.seed, beta=self.spec.dpo.beta)
        return self._sampled(name, t, config, **inputs, reference=before)

    def _judge(self) -> s.Judge:
        wanted = self.spec.judge
        return s.Judge(
            seed=self.spec.seed,
            rubric=wanted.rubric,
            votes=wanted.votes,
            min_valid=wanted.min_valid,
            allow_fractional=wanted.allow_fractional,
            sampling=sampling(wanted),
        )

    def _anchors(self, t: int) -> list[Stage]:
        """Returns M1's replies and M(t)'s scores of them; M1 itself needs none."""
        if not self.spec.pairs.anchored_loser or t == 1:
            return []
        replies = self._replies(t, "generate-anchors", by=1)
        return [
            replace(replies, after=(f"judge-{t}",)),  # whose gates may end the run
            self._scores(t, "judge-anchors", "generate-anchors"),
        ]

    def _scores_by_previous(self, t: int) -> list[Stage]:
        """Returns M(t-1)'s scores of M(t)'s replies; before M1 nothing can judge."""
        if not self.spec.dpo.consistency or t == 1:
            return []
        scores = self._scores(t, "judge-by-previous", "generate-responses", by=t - 1)
        return [replace(scores, after=(f"judge-{t}",))]  # as above

    def _pairs(self, t: int) -> Stage:
        wanted = self.spec.pairs
        consistent = self.spec.dpo.consistency and t > 1
        config = s.BuildPairs(
            seed=self.spec.seed,
            tie_break=wanted.tie_break,
            min_score_gap=wanted.min_score_gap,
            exclude_truncated=wanted.exclude_truncated,
            rho=(wanted.rho[min(t, len(wanted.rho)) - 1] or None) if wanted.rho else None,
            max_chosen_length=wanted.max_chosen_length,
            consistency=True if consistent else None,
        )
        verified = self.spec.reward == "verifier"
        inputs = {"samples": f"sample-{t}"} if verified else {"judged": f"judge-{t}"}
        if consistent:
            inputs["judged-by-previous"] = f"judge-by-previous-{t}"
        if wanted.anchored_loser and t > 1:
            inputs["anchors"] = f"judge-anchors-{t}"
        return Stage(
            name=f"build-pairs-{t}",
            config=config,
            job=f"build-pairs-{t}",
            iteration=t,
            inputs=inputs,
            checks=gates.pairing(self.spec),
        )

    def _judge_pairs(self, t: int) -> list[Stage]:
        wanted = self.spec.meta_judge
        if wanted is None or t > wanted.rounds:
            return []
        rubric = self.spec.judge.rubric
        compare = s.MetaJudge(seed=self.spec.seed, rubric=rubric, sampling=sampling(wanted))
        build = s.BuildJudgePairs(
            seed=self.spec.seed,
            rubric=rubric,
            max_share=wanted.max_share,
            max_score_share=wanted.max_score_share,
            max_chosen_length=wanted.max_chosen_length,
        )
        name = f"build-judge-pairs-{t}"
        return [
            self._sampled("meta-judge", t, compare, model=self.model(t), judged=f"judge-{t}"),
            Stage(
                name=name,
                config=build,
                job=name,
                iteration=t,
                inputs={"battles": f"meta-judge-{t}", "pairs": f"build-pairs-{t}"},
            ),
        ]

    def _dpo(self, t: int) -> Stage:
        wanted, inputs = self.spec.dpo, {"model": self.model(t), "pairs": f"build-pairs-{t}"}
        if self.spec.meta_judge and t <= self.spec.meta_judge.rounds:
            inputs["judge-pairs"] = f"build-judge-pairs-{t}"
        selection, secret = None, None
        if chosen := wanted.checkpoints:
            referee = self._referee(chosen, "import-checkpoint-judge", self.model(t))
            inputs |= {"validation": self.start.validation, **referee.inputs}
            secret = referee.secret
            selection = s.Selection(
                every_steps=chosen.every_steps,
                patience=chosen.patience,
                contest=self._contest(referee, chosen.prompts),
            )
        config = s.TrainDpo.model_validate(
            {
                **training(self.spec, wanted),
                "beta": wanted.beta,
                "nll_coefficient": wanted.nll_coefficient,
                "selection": selection,
            }
        )
        return Stage(
            name=f"train-dpo-{t}",
            config=config,
            job=f"train-dpo-{t}",
            iteration=t,
            inputs=inputs,
            secret=secret,
        )

    def _positives(self, t: int) -> Stage:
        config = s.BuildPositives(seed=self.spec.seed, rubric=self.spec.judge.rubric)
        return Stage(
            name=f"build-positives-{t}",
            config=config,
            job=f"build-positives-{t}",
            iteration=t,
            inputs={"judged": f"judge-{t}"},
            checks=gates.positives(self.spec),
        )

    def _sft(self, t: int) -> Stage:
        rows = {f"positives-{i}": f"build-positives-{i}" for i in range(1, t + 1)}
        rows["instructions"] = self.start.instructions
        if self.start.evaluations:
            rows["evaluations"] = self.start.evaluations
        return sft(self.spec, f"train-positive-{t}", rows, iteration=t)

    def evaluation(self, t: int) -> Stage:
        """Returns the stage that measures M(t+1); t may be 0."""
        wanted = self.spec.evaluation
        opponents = {"baseline": self.start.baseline}
        if t:
            opponents |= {"previous": self.model(t), "first": self.model(1)}
        met: dict[str, str] = {n: opponents[n] for n in wanted.against if opponents.get(n)}
        referee = self._referee(wanted, "import-judge", self.model(max(t, 1)))
        if not met:
            referee = replace(referee, inputs={}, secret=None)
        config = s.Evaluate(
            seed=self.spec.seed,
            votes=self.spec.judge.votes,
            min_valid=self.spec.judge.min_valid,
            allow_fractional=self.spec.judge.allow_fractional,
            contest=self._contest(referee, wanted.prompts),
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

    def _referee(self, wanted: Referee, fixed: str, current: str) -> "_Referee":
        """Returns where a judge of two replies is.

        Args:
            wanted: What the run says.
            fixed: Stage that brings the fixed judge.
            current: Stage that makes the model the round starts from.
        """
        judges = {"first": self.model(1), "current": current, "fixed": fixed}
        if wanted.judge in judges:
            return _Referee(judge="model", inputs={"referee": judges[wanted.judge]})
        if wanted.endpoint is None:
            return _Referee(judge="oracle")
        server = s.Server(url=wanted.endpoint.url, model=wanted.endpoint.model)
        return _Referee(judge="server", server=server, secret=wanted.endpoint.secret_name)

    def _contest(self, referee: "_Referee", prompts: int) -> s.Contest:
        return s.Contest(
            rubric=self.spec.judge.rubric,
            judge=referee.judge,
            server=referee.server,
            judge_sampling=sampling(self.spec.judge),
            reply_sampling=sampling(self.spec.responses),
            prompts=prompts,
        )


@dataclass(frozen=True, kw_only=True)
class _Referee:
    judge: Literal["model", "server", "oracle"]
    inputs: Mapping[str, str] = field(default_factory=dict)
    server: s.Server | None = None
    secret: str | None = None
