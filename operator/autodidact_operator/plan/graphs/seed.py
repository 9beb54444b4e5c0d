"""Seed data and warm-up of a SelfRewardRun: from the inputs to M1 (arXiv 2401.10020 section 3.1).

With ``data.ranked`` the graph has stages of its own for what is not given: the instructions, the
model after SFT on them alone, its judgements of ranked replies, and those of them that agree with
the people.
"""

from dataclasses import dataclass

from autodidact_contract import stages as s
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs.parts import IMPORT, imports, sampling, training
from autodidact_operator.plan.types import Check, Stage

BASELINE = "train-baseline"
ORIGIN = "import-origin"
EFT = "build-eft"
PART_FIELDS = (
    "language",
    "instructions",
    "instruction_share",
    "held_out_share",
    "validation_prompts",
)


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Where the rounds find what they need: names of stages.

    Attributes:
        stages: All up to M1.
        first: Makes M1.
        baseline: Makes the model after SFT on the instructions alone; empty: nobody wants it.
        evaluations: Has the judgements to learn from; empty: there are none.
        validation: Has the prompts that choose checkpoints; empty: nobody wants them.
    """

    stages: tuple[Stage, ...]
    first: str
    instructions: str
    held_out: str
    evaluations: str = ""
    baseline: str = ""
    validation: str = ""


def seed(spec: SelfRewardSpec, salt: str, origin: str) -> Seed:
    """Returns everything before the first round.

    Args:
        spec: The run's spec.
        salt: Different for each run; part of the keys of imports whose content may change.
        origin: Artifact that ``spec.from`` was found to be; empty where there is none.
    """
    data = spec.data
    stages = _imports(spec, salt, forked=bool(origin))
    if origin:
        stages.append(_origin(spec, origin))
    instructions, held_out = "import-instructions", "import-heldout"
    validation = "import-validation" if data.validation else ""
    if data.ranked:
        parts = _parts(spec, judged=not origin)
        stages += parts.values()
        instructions = instructions if data.instructions else "build-instructions"
        held_out = held_out if data.held_out else "build-heldout"
        validation = validation or ("build-validation" if "validation" in parts else "")
    evaluations = "import-evaluations" if data.evaluations and not origin else ""
    learned = {"instructions": instructions, "evaluations": evaluations}
    if data.questions:
        learned["questions"] = "import-questions"
    stages.append(_compared(spec, stages, {**learned, "validation": validation}, held_out))
    judged = bool(data.ranked) and not origin
    baseline = BASELINE if judged or "baseline" in spec.evaluation.against else ""
    if baseline:
        stages.append(sft(spec, BASELINE, {"instructions": instructions}))
    if judged:
        stages += _judged(spec)
        evaluations = EFT
    if not origin:
        inputs = {"instructions": instructions}
        if evaluations:
            inputs["evaluations"] = evaluations
        stages.append(sft(spec, "train-sft", inputs))
    return Seed(
        stages=tuple(stages),
        first=ORIGIN if origin else "train-sft",
        instructions=instructions,
        held_out=held_out,
        evaluations=evaluations,
        baseline=baseline,
        validation=validation,
    )


def _imports(spec: SelfRewardSpec, salt: str, *, forked: bool) -> list[Stage]:
    """Returns the imports; the model of another run has learned from evaluations already."""
    data, checkpoints = spec.data, spec.dpo.checkpoints
    return imports(
        spec,
        salt,
        (
            ("import-model", spec.model, "model"),
            ("import-instructions", data.instructions, "instructions"),
            ("import-evaluations", None if forked else data.evaluations, "evaluations"),
            ("import-heldout", data.held_out, "ranked"),
            ("import-ranked", data.ranked, "trees"),
            ("import-validation", data.validation, "prompts"),
            ("import-questions", data.questions, "questions"),
            ("import-writer", spec.prompts.model, "model"),
            ("import-judge", spec.evaluation.judge_model, "model"),
            (
                "import-checkpoint-judge",
                checkpoints.judge_model if checkpoints else None,
                "model",
            ),
        ),
    )


def _origin(spec: SelfRewardSpec, artifact: str) -> Stage:
    return Stage(
        name=ORIGIN,
        config=s.Import(seed=spec.seed, uri=f"artifact://{artifact}", content="model"),
        job=IMPORT,
    )


def _parts(spec: SelfRewardSpec, *, judged: bool) -> dict[str, Stage]:
    """Returns the stages that take the trees apart, by part, for what is not given."""
    wanted = {
        "instructions": ("build-instructions", spec.data.instructions is None),
        "judged": ("build-ranked", judged),
        "held-out": ("build-heldout", spec.data.held_out is None),
        "validation": (
            "build-validation",
            spec.dpo.checkpoints is not None and spec.data.validation is None,
        ),
    }
    fields = {name: getattr(spec.seed_data, name) for name in PART_FIELDS}
    return {
        part: Stage(
            name=name,
            config=s.BuildSeed.model_validate({**fields, "part": part}),
            job="build-seed",
            inputs={"trees": "import-ranked"},
            checks=_enough(name),
        )
        for part, (name, needed) in wanted.items()
        if needed
    }


def _compared(
    spec: SelfRewardSpec, before: list[Stage], others: dict[str, str], held_out: str
) -> Stage:
    """Returns the stage that counts the held-out prompts that are in other data as well.

    Args:
        spec: The run's spec.
        before: The stages that bring the data in.
        others: Stage by name of the data; empty where there are none.
        held_out: Stage of the held-out data.
    """
    inputs = {"heldout": held_out, **{name: stage for name, stage in others.items() if stage}}
    jobs = {stage.job for stage in before if stage.name in inputs.values()}
    return Stage(
        name="compare-prompts",
        config=s.ComparePrompts(seed=spec.seed),
        job=jobs.pop() if len(jobs) == 1 else "compare-prompts",
        inputs=inputs,
        checks=(
            Check(
                reason="SplitsOverlap",
                figure="number of held-out prompts that are in other data as well",
                numerator="overlap",
                limit=0,
                at_least=False,
                action="Warn",
                advice="what is measured on them says nothing about new prompts; remove them",
            ),
        ),
    )


def _enough(name: str) -> tuple[Check, ...]:
    return (
        Check(
            reason="TooFewSeeds",
            figure="number of rows",
            numerator="rows",
            limit=1,
            at_least=True,
            action="Fail",
            advice=f"the counts of {name} say what the trees had; see seedData.language, the "
            "shares in seedData and seedData.validationPrompts",
        ),
    )


def _judged(spec: SelfRewardSpec) -> list[Stage]:
    """Returns the stages from ranked replies to the judgements that agree with the people."""
    wanted = spec.seed_data
    judge = Stage(
        name="judge-ranked",
        config=s.JudgeRanked(
            seed=spec.seed,
            rubric=spec.judge.rubric,
            attempts=wanted.attempts,
            allow_fractional=spec.judge.allow_fractional,
            sampling=sampling(spec.judge),
        ),
        job="judge-ranked",
        inputs={"model": BASELINE, "ranked": "build-ranked"},
        shards=spec.shards,
    )
    build = Stage(
        name=EFT,
        config=s.BuildEft(
            seed=spec.seed,
            agreement=wanted.agreement,
            max_score_share=wanted.max_score_share,
        ),
        job=EFT,
        inputs={"judged": judge.name},
        checks=(
            Check(
                reason="NoJudgementAgrees",
                figure="judgements that agree with the people",
                numerator="rows",
                limit=1,
                at_least=True,
                action="Fail",
                advice="the counts of build-eft say why; a base model may need a larger "
                "seedData.attempts, a longer warmUp or a larger judge.maxNewTokens",
            ),
        ),
    )
    return [judge, build]


def sft(spec: SelfRewardSpec, name: str, inputs: dict[str, str], iteration: int = 0) -> Stage:
    """Returns SFT of the given model with the warm-up's settings."""
    return Stage(
        name=name,
        config=s.TrainSft.model_validate(
            {**training(spec, spec.warm_up), "rubric": spec.judge.rubric}
        ),
        job=name,
        iteration=iteration,
        inputs={"model": "import-model", **inputs},
    )
