"""SelfRewardRun as a graph (arXiv 2401.10020, sections 2.4 and 3.1.3).

M(t) judges itself and answers in iteration t, and is both the start and the frozen reference of
the DPO that makes M(t+1). ``evaluate-0`` measures M1, ``evaluate-<t>`` measures M(t+1).

Departure: where prompts.model is unset, the fixed prompt writer is M1; the paper's is a model of
its own.
"""

from autodidact_contract import stages as s
from autodidact_contract.resources import Gate
from autodidact_contract.selfreward import SelfRewardSpec
from autodidact_operator.plan.building import gate, imports, report, sampling, training
from autodidact_operator.plan.types import Check, Graph, Line, Stage


def graph(spec: SelfRewardSpec, salt: str) -> Graph:
    """Returns the whole run as a graph of stages.

    Args:
        spec: The run's spec.
        salt: Different for each run; part of the keys of imports whose content may change.
    """
    stages = [*_imports(spec, salt), _warm_up(spec), _evaluate(spec, 0)]
    for t in range(1, spec.iterations + 1):
        stages += _iteration(spec, t)
    stages.append(report(spec, "Self-Rewarding run", stages, spec.iterations))
    return Graph(
        stages=tuple(stages),
        models={t: _model(t) for t in range(1, spec.iterations + 2)},
        iterations=spec.iterations,
        lines=tuple(_line(t) for t in range(spec.iterations + 1)),
    )


def _line(t: int) -> Line:
    return Line(
        iteration=t,
        name=f"M{t + 1}",
        model=_model(t + 1),
        figures={
            "pairs": (f"build-pairs-{t}", "pairs"),
            "mean_score": (f"judge-{t}", "score"),
            "quality": (f"evaluate-{t}", "quality"),
            "win_rate": (f"evaluate-{t}", "winRate"),
            "judge_accuracy": (f"evaluate-{t}", "pairwiseAccuracy"),
        },
    )


def _model(t: int) -> str:
    """Returns the stage that makes M(t)."""
    return "train-sft" if t == 1 else f"train-dpo-{t - 1}"


def _imports(spec: SelfRewardSpec, salt: str) -> list[Stage]:
    return imports(
        spec,
        salt,
        (
            ("import-model", spec.model, "model"),
            ("import-instructions", spec.data.instructions, "instructions"),
            ("import-evaluations", spec.data.evaluations, "evaluations"),
            ("import-heldout", spec.data.held_out, "ranked"),
            ("import-writer", spec.prompts.model, "model"),
        ),
    )


def _warm_up(spec: SelfRewardSpec) -> Stage:
    inputs = {"model": "import-model", "instructions": "import-instructions"}
    if spec.data.evaluations:
        inputs["evaluations"] = "import-evaluations"
    config = s.TrainSft.model_validate(
        {**training(spec, spec.warm_up), "rubric": spec.judge.rubric}
    )
    return Stage(
        name="train-sft",
        config=config,
        job="train-sft",
        inputs=inputs,
        compute="train",
        training=True,
    )


def _iteration(spec: SelfRewardSpec, t: int) -> list[Stage]:
    return [
        _prompts(spec, t),
        _responses(spec, t),
        _judge(spec, t),
        _pairs(spec, t),
        _dpo(spec, t),
        _evaluate(spec, t),
    ]


def _job(spec: SelfRewardSpec, name: str, t: int) -> str:
    """Stages of one model share one process where one pod does each of them whole."""
    return f"sample-{t}" if spec.shards == 1 else f"{name}-{t}"


def _prompts(spec: SelfRewardSpec, t: int) -> Stage:
    wanted = spec.prompts
    writer = _model(t) if wanted.generator == "self" else _model(1)
    if wanted.generator == "fixed" and wanted.model:
        writer = "import-writer"
    earlier = {f"accepted-{i}": f"generate-prompts-{i}" for i in range(1, t)}
    config = s.GeneratePrompts(
        # The same writer must not write the same prompts again in the next iteration.
        seed=spec.seed + t - 1,
        rubric=spec.judge.rubric,
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
    # All of an iteration waits for its model, and for its judge's figures where they are gated.
    after = (_model(t), f"evaluate-{t - 1}") if spec.gates.min_judge_accuracy else (_model(t),)
    return Stage(
        name=f"generate-prompts-{t}",
        config=config,
        job=_job(spec, "generate-prompts", t),
        iteration=t,
        inputs={"model": writer, "instructions": "import-instructions", **earlier},
        after=after,
        compute="generate",
    )


def _responses(spec: SelfRewardSpec, t: int) -> Stage:
    return Stage(
        name=f"generate-responses-{t}",
        config=s.GenerateResponses(
            seed=spec.seed,
            per_prompt=spec.responses.per_prompt,
            sampling=sampling(spec.responses),
        ),
        job=_job(spec, "generate-responses", t),
        iteration=t,
        inputs={"model": _model(t), "prompts": f"generate-prompts-{t}"},
        compute="generate",
        shards=spec.shards,
    )


def _judge(spec: SelfRewardSpec, t: int) -> Stage:
    return Stage(
        name=f"judge-{t}",
        config=s.Judge(
            seed=spec.seed,
            rubric=spec.judge.rubric,
            votes=spec.judge.votes,
            min_valid=spec.judge.min_valid,
            allow_fractional=spec.judge.allow_fractional,
            sampling=sampling(spec.judge),
        ),
        job=_job(spec, "judge", t),
        iteration=t,
        inputs={"model": _model(t), "responses": f"generate-responses-{t}"},
        compute="generate",
        shards=spec.shards,
        checks=_judge_checks(spec),
    )


def _pairs(spec: SelfRewardSpec, t: int) -> Stage:
    return Stage(
        name=f"build-pairs-{t}",
        config=s.BuildPairs(
            seed=spec.seed,
            tie_break=spec.pairs.tie_break,
            min_score_gap=spec.pairs.min_score_gap,
            exclude_truncated=spec.pairs.exclude_truncated,
        ),
        job=f"build-pairs-{t}",
        iteration=t,
        inputs={"judged": f"judge-{t}"},
        checks=_pair_checks(spec),
    )


def _dpo(spec: SelfRewardSpec, t: int) -> Stage:
    config = s.TrainDpo.model_validate(
        {
            **training(spec, spec.dpo),
            "beta": spec.dpo.beta,
            "nll_coefficient": spec.dpo.nll_coefficient,
        }
    )
    return Stage(
        name=f"train-dpo-{t}",
        config=config,
        job=f"train-dpo-{t}",
        iteration=t,
        inputs={"model": _model(t), "pairs": f"build-pairs-{t}"},
        compute="train",
        training=True,
    )


def _evaluate(spec: SelfRewardSpec, t: int) -> Stage:
    """Returns the stage that measures M(t+1), against M(t) where there is one."""
    inputs = {"model": _model(t + 1), "heldout": "import-heldout"}
    if t:
        inputs["previous"] = _model(t)
        if spec.evaluation.judge == "model":
            inputs["referee"] = _model(1)
    return Stage(
        name=f"evaluate-{t}",
        config=s.Evaluate(
            seed=spec.seed,
            rubric=spec.judge.rubric,
            votes=spec.judge.votes,
            min_valid=spec.judge.min_valid,
            allow_fractional=spec.judge.allow_fractional,
            judge_sampling=sampling(spec.judge),
            reply_sampling=sampling(spec.responses),
            judge=spec.evaluation.judge,
            prompts=spec.evaluation.prompts,
        ),
        job=f"evaluate-{t}",
        iteration=t,
        inputs=inputs,
        compute="generate",
        shards=spec.shards,
        checks=_evaluation_checks(spec),
    )


def _judge_checks(spec: SelfRewardSpec) -> tuple[Check, ...]:
    return (
        *gate(
            spec.gates.min_parse_rate,
            reason="JudgeUnreadable",
            figure="share of judgements with a readable score",
            numerator="parsed",
            denominator="judgements",
            at_least=True,
            advice="train the judge (data.evaluations), or raise judge.maxNewTokens if "
            "judgements are cut",
        ),
        *gate(
            spec.gates.max_tie_rate,
            reason="TooManyTies",
            figure="share of prompts whose replies all have one score",
            numerator="ties",
            denominator="prompts",
            at_least=False,
            advice="use more votes or a higher temperature",
        ),
    )


def _pair_checks(spec: SelfRewardSpec) -> tuple[Check, ...]:
    wanted = spec.gates.min_pairs or Gate(limit=1, action="Stop")
    return (
        *gate(
            wanted.model_copy(update={"limit": max(wanted.limit, 1)}),
            reason="TooFewPairs",
            figure="preference pairs",
            numerator="pairs",
            at_least=True,
            advice="see the drop counters of build-pairs: ties need more votes, unscored "
            "replies a trained judge",
        ),
        *gate(
            spec.gates.min_mean_gap,
            reason="GapTooSmall",
            figure="mean score gap between winners and losers",
            metric="gap",
            at_least=True,
            advice="what is left may be the judge's noise",
        ),
    )


def _evaluation_checks(spec: SelfRewardSpec) -> tuple[Check, ...]:
    return gate(
        spec.gates.min_judge_accuracy,
        reason="JudgeDisagrees",
        figure="pairwise accuracy of the judge on the held-out rankings",
        metric="pairwiseAccuracy",
        at_least=True,
        advice="more or better data.evaluations",
    )
