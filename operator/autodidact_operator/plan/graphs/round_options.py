"""What options of a SelfRewardRun add to a round, or put in the place of a part of it.

Each function is about one option and returns nothing where it is off. ``t`` is a round's number.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from autodidact_contract import stages as s
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs import gates, referees
from autodidact_operator.plan.graphs.parts import IMPORT, sampling
from autodidact_operator.plan.graphs.seed import Seed, sft
from autodidact_operator.plan.types import Stage

if TYPE_CHECKING:
    from autodidact_operator.plan.graphs.rounds import Rounds


# Where reward is verifier.


def questions(spec: SelfRewardSpec, start: Seed) -> list[Stage]:
    """Returns the stage that checks the questions, where their answers are the reward."""
    if spec.reward != "verifier":
        return []
    config = s.PrepareQuestions(
        seed=spec.seed,
        split="validation",  # their reasoning is not needed
        answers=_answers(spec),
        max_question_tokens=spec.dpo.max_length - 1,
        max_length=spec.dpo.max_length,
    )
    inputs = {"questions": "import-questions", "model": "import-model"}
    brought = {stage.name: stage.job for stage in start.stages}
    together = all(brought[name] == IMPORT for name in inputs.values())
    job = IMPORT if together else "prepare"
    return [Stage(name="prepare-questions", config=config, job=job, inputs=inputs)]


def verified(rounds: "Rounds", t: int) -> Stage:
    """Returns the stage that answers the questions; a right answer is its own score."""
    spec = rounds.spec
    config = s.Sample(
        seed=spec.seed + t - 1,
        per_question=spec.responses.per_prompt,
        greedy=False,
        sampling=sampling(spec.responses),
        answers=_answers(spec),
    )
    inputs = {"model": rounds.model(t), "questions": "prepare-questions"}
    return replace(rounds.sampled("sample", t, config, **inputs), after=rounds.after(t))


def _answers(spec: SelfRewardSpec) -> s.Answers:
    return s.Answers.model_validate(spec.answers.model_dump(by_alias=False))


# Where reward is implicit.


def implicit(rounds: "Rounds", t: int, name: str, replies: str, by: int) -> Stage:
    """Returns the stage that scores replies by DPO's own reward of M(by)."""
    spec = rounds.spec
    return rounds.sampled(
        name,
        t,
        s.ImplicitReward(seed=spec.seed, beta=spec.dpo.beta),
        model=rounds.model(by),
        responses=f"{replies}-{t}",
        reference=rounds.model(by - 1) if by > 1 else "import-model",
    )


# Where learning is positive.


def positives(rounds: "Rounds", t: int) -> list[Stage]:
    """Returns the stages that learn by SFT from the replies with the best score, not from pairs."""
    spec, start = rounds.spec, rounds.start
    found = Stage(
        name=f"build-positives-{t}",
        config=s.BuildPositives(seed=spec.seed, rubric=spec.judge.rubric),
        job=f"build-positives-{t}",
        iteration=t,
        inputs={"judged": f"judge-{t}"},
        checks=gates.positives(spec),
    )
    rows = {f"positives-{i}": f"build-positives-{i}" for i in range(1, t + 1)}
    rows["instructions"] = start.instructions
    if start.evaluations:
        rows["evaluations"] = start.evaluations
    return [found, sft(spec, f"train-positive-{t}", rows, iteration=t)]


# With pairs.anchoredLoser or dpo.consistency.


def anchors(rounds: "Rounds", t: int) -> list[Stage]:
    """Returns M1's replies and M(t)'s scores of them; M1 itself needs none."""
    if not rounds.spec.pairs.anchored_loser or t == 1:
        return []
    replies = rounds.replies(t, "generate-anchors", by=1)
    return [
        replace(replies, after=(f"judge-{t}",)),  # whose gates may end the run
        rounds.scores(t, "judge-anchors", "generate-anchors"),
    ]


def scores_by_previous(rounds: "Rounds", t: int) -> list[Stage]:
    """Returns M(t-1)'s scores of M(t)'s replies; before M1 nothing can judge."""
    if not _consistent(rounds, t):
        return []
    scores = rounds.scores(t, "judge-by-previous", "generate-responses", by=t - 1)
    return [replace(scores, after=(f"judge-{t}",))]  # as above


def paired(rounds: "Rounds", t: int, plain: Stage) -> Stage:
    """Returns the stage that builds pairs, with the options beside the plain rule."""
    wanted = rounds.spec.pairs
    inputs = dict(plain.inputs)
    if rounds.spec.reward == "verifier":
        inputs = {"samples": f"sample-{t}"}
    if _consistent(rounds, t):
        inputs["judged-by-previous"] = f"judge-by-previous-{t}"
    if wanted.anchored_loser and t > 1:
        inputs["anchors"] = f"judge-anchors-{t}"
    options = {
        "rho": (wanted.rho[min(t, len(wanted.rho)) - 1] or None) if wanted.rho else None,
        "max_chosen_length": wanted.max_chosen_length,
        "consistency": True if _consistent(rounds, t) else None,
    }
    return replace(plain, config=plain.config.model_copy(update=options), inputs=inputs)


def _consistent(rounds: "Rounds", t: int) -> bool:
    return rounds.spec.dpo.consistency and t > 1


# With metaJudge.


def judge_pairs(rounds: "Rounds", t: int) -> list[Stage]:
    """Returns the stages that make pairs of judgements, in the rounds that train the judge."""
    spec, wanted = rounds.spec, rounds.spec.meta_judge
    if wanted is None or t > wanted.rounds:
        return []
    rubric = spec.judge.rubric
    compare = s.MetaJudge(seed=spec.seed, rubric=rubric, sampling=sampling(wanted))
    build = s.BuildJudgePairs(
        seed=spec.seed,
        rubric=rubric,
        max_share=wanted.max_share,
        max_score_share=wanted.max_score_share,
        max_chosen_length=wanted.max_chosen_length,
    )
    name = f"build-judge-pairs-{t}"
    return [
        rounds.sampled("meta-judge", t, compare, model=rounds.model(t), judged=f"judge-{t}"),
        Stage(
            name=name,
            config=build,
            job=name,
            iteration=t,
            inputs={"battles": f"meta-judge-{t}", "pairs": f"build-pairs-{t}"},
        ),
    ]


# With metaJudge or dpo.checkpoints, in training.


def trained(rounds: "Rounds", t: int, plain: Stage) -> Stage:
    """Returns the stage of DPO, with pairs of judgements and a choice of the checkpoint."""
    spec, inputs = rounds.spec, dict(plain.inputs)
    if spec.meta_judge and t <= spec.meta_judge.rounds:
        inputs["judge-pairs"] = f"build-judge-pairs-{t}"
    wanted = spec.dpo.checkpoints
    if wanted is None:
        return replace(plain, inputs=inputs)
    by = referees.appoint(
        wanted, first=rounds.model(1), current=rounds.model(t), fixed="import-checkpoint-judge"
    )
    selection = s.Selection(
        every_steps=wanted.every_steps,
        patience=wanted.patience,
        contest=referees.contest(spec, by, wanted.prompts),
    )
    return replace(
        plain,
        config=plain.config.model_copy(update={"selection": selection}),
        inputs={**inputs, "validation": rounds.start.validation, **by.inputs},
        secret=by.secret,
    )
