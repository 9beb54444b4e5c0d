"""ReFTRun as a graph (arXiv 2401.08967, sections 3 and 4).

The warm-up model is the start and the frozen reference of the reinforcement, the start of the
baselines, and the source of the samples that the reranker and offline self-training learn from.
Training looks at the train and validation splits only; the test split is read by ``sample-test-*``
alone, once for each finished model.
"""

from dataclasses import replace

from autodidact_contract import stages as s
from autodidact_contract.api import kinds
from autodidact_contract.api.reft import Grpo, Ppo, ReFTSpec
from autodidact_contract.api.training import TrainingFields
from autodidact_operator.plan.graphs.parts import IMPORT, gate, imports, report, sampling, training
from autodidact_operator.plan.types import Check, Graph, Line, Stage

SPLITS = ("train", "validation", "test")
WARM_UP, REFT = "train-sft", "train-reft"
BASELINES = {
    "sft": "train-sft-continued",
    "offline-self-training": "train-sft-offline",
    "online-self-training": "train-online-st",
}
"""Stage that makes each baseline's model."""


def graph(spec: ReFTSpec, salt: str) -> Graph:
    """Returns the whole run as a graph of stages.

    Args:
        spec: The run's spec.
        salt: Different for each run; part of the keys of imports whose content may change.
    """
    models: dict[str, str] = {
        "warm-up": WARM_UP,
        **{name: BASELINES[name] for name in spec.baselines},
        spec.algorithm: REFT,
    }
    stages = [*_data(spec, salt), _warm_up(spec), *_evaluate(spec, "warm-up", WARM_UP)]
    stages.append(_reinforce(spec))
    if spec.reranker.enabled or "offline-self-training" in spec.baselines:
        stages.append(_sample(spec, "sample-train", WARM_UP, "train", spec.sampling.train_samples))
    for baseline in spec.baselines:
        stages += _baseline(spec, baseline)
    for name, model in list(models.items())[1:]:
        stages += _evaluate(spec, name, model)
    if spec.reranker.enabled:
        stages.append(_reranker(spec))
        stages += [_rerank(spec, name) for name in models]
    stages.append(report(spec, kinds.REFT.title, stages, 1))
    return Graph(
        stages=tuple(stages),
        models={1: WARM_UP, 2: REFT},
        iterations=1,
        lines=tuple(_line(name, model) for name, model in models.items()),
    )


def _line(name: str, model: str) -> Line:
    return Line(
        iteration=_iteration(name),
        name=name,
        model=model,
        figures={
            "accuracy": (f"evaluate-{name}", "greedyAccuracy"),
            "vote_accuracy": (f"evaluate-{name}", "voteAccuracy"),
            "rerank_accuracy": (f"rerank-{name}", "rerankAccuracy"),
        },
    )


def _iteration(name: str) -> int:
    return 0 if name == "warm-up" else 1


def _answers(spec: ReFTSpec) -> s.Answers:
    return s.Answers.model_validate(
        {**spec.answers.model_dump(by_alias=False), "reasoning": spec.reasoning}
    )


def _reward(spec: ReFTSpec) -> s.Reward:
    return s.Reward.model_validate(spec.reward.model_dump(by_alias=False))


def _data(spec: ReFTSpec, salt: str) -> list[Stage]:
    brought = imports(
        spec,
        salt,
        (
            ("import-model", spec.model, "model"),
            *((f"import-{split}", getattr(spec.data, split), "questions") for split in SPLITS),
        ),
    )
    together = all(stage.job == IMPORT for stage in brought)
    return [*brought, *(_prepare(spec, split, together=together) for split in SPLITS)]


def _prepare(spec: ReFTSpec, split: str, *, together: bool) -> Stage:
    inputs = {"questions": f"import-{split}", "model": "import-model"}
    if split != "train":
        inputs["others"] = "prepare-train"
    return Stage(
        name=f"prepare-{split}",
        config=s.PrepareQuestions.model_validate(
            {
                "seed": spec.seed,
                "split": split,
                "answers": _answers(spec),
                "max_question_tokens": spec.rollouts.max_question_tokens,
                "max_length": spec.warm_up.max_length,
            }
        ),
        job=IMPORT if together else "prepare",
        inputs=inputs,
        # Targets are run as programs where there are any.
        checks=_sandbox_checks(spec) if split == "train" else (_OVERLAP,),
    )


_OVERLAP = Check(
    reason="SplitsOverlap",
    figure="number of questions that are in the training split as well",
    numerator="overlap",
    limit=0,
    at_least=False,
    action="Warn",
    advice="accuracies on them say nothing about new questions; remove them",
)


def _validation(spec: ReFTSpec, **changes: object) -> s.Validation:
    return s.Validation.model_validate(
        {
            "every_epochs": spec.evaluation.every_epochs,
            "questions": spec.evaluation.questions,
            "max_new_tokens": spec.sampling.max_new_tokens,
            "answers": _answers(spec),
            **changes,
        }
    )


def _warm_up(spec: ReFTSpec) -> Stage:
    wanted = spec.warm_up
    # What the schedule of k epochs ends in is the warm-up, be it the best of them or not.
    validation = _validation(spec, until=wanted.until_accuracy, keep="last")
    return _training_stage(
        spec,
        WARM_UP,
        s.TrainSft.model_validate(
            {
                **training(spec, wanted),
                "stop_epochs": wanted.stop_epochs,
                "validation": validation,
            }
        ),
        {"model": "import-model"},
        iteration=0,
        checks=gate(
            spec.gates.min_warm_up_accuracy,
            reason="WarmUpTooWeak",
            figure="accuracy on the validation questions",
            metric="accuracy",
            at_least=True,
            advice="warm up for longer (warmUp.stopEpochs, warmUp.untilAccuracy)",
        ),
    )


def _training_stage(
    spec: ReFTSpec,
    name: str,
    config: s.TrainSft | s.TrainPpo | s.TrainGrpo | s.TrainOnlineSt,
    inputs: dict[str, str],
    *,
    iteration: int = 1,
    checks: tuple[Check, ...] = (),
) -> Stage:
    return Stage(
        name=name,
        config=config,
        job=name,
        iteration=iteration,
        inputs={"questions": "prepare-train", "validation": "prepare-validation", **inputs},
        checks=(*checks, *_sandbox_checks(spec)),
    )


def _online(spec: ReFTSpec, fields: Ppo | Grpo) -> dict[str, object]:
    return {
        **training(spec, fields),
        "sampling": sampling(spec.sampling),
        "answers": _answers(spec),
        "validation": _validation(spec),
        "passes": fields.passes,
    }


def _reinforced(spec: ReFTSpec, fields: Ppo | Grpo) -> dict[str, object]:
    return {
        **_online(spec, fields),
        "reward": _reward(spec),
        "clip_ratio": fields.clip_ratio,
        "max_kl": spec.gates.max_kl.limit if spec.gates.max_kl else None,
    }


def _reinforce(spec: ReFTSpec) -> Stage:
    config = _ppo(spec) if spec.algorithm == "ppo" else _grpo(spec)
    return _training_stage(spec, REFT, config, {"model": WARM_UP}, checks=_health(spec))


def _ppo(spec: ReFTSpec) -> s.TrainPpo:
    wanted = spec.ppo
    default = 0.01 if spec.reasoning == "program" else 0.05
    same = (
        "mini_batch_size",
        "gamma",
        "gae_lambda",
        "clip_value",
        "value_coefficient",
        "value_head",
        "value_network",
        "value_warmup_steps",
    )
    return s.TrainPpo.model_validate(
        {
            **_reinforced(spec, wanted),
            **{name: getattr(wanted, name) for name in same},
            "beta": default if wanted.beta is None else wanted.beta,
        }
    )


def _grpo(spec: ReFTSpec) -> s.TrainGrpo:
    wanted = spec.grpo
    return s.TrainGrpo.model_validate(
        {
            **_reinforced(spec, wanted),
            "group_size": wanted.group_size,
            "beta": wanted.beta,
        }
    )


def _health(spec: ReFTSpec) -> tuple[Check, ...]:
    kl = spec.gates.max_kl
    # Training has stopped itself and kept its best model: with Stop the run goes on with that.
    kept = kl.model_copy(update={"action": "Warn"}) if kl and kl.action == "Stop" else kl
    return (
        *gate(
            kept,
            reason="KLTooLarge",
            figure="mean KL from the warm-up model, in nats per answer, of the last rollout",
            metric="lastKl",
            at_least=False,
            advice="training ended there and kept its best model; raise beta or lower learningRate",
        ),
        *gate(
            spec.gates.max_truncation,
            reason="AnswersCut",
            figure="share of answers cut by their length",
            metric="truncation",
            at_least=False,
            advice="raise maxLength, or set reward.missingEosPenalty",
        ),
    )


def _sandbox_checks(spec: ReFTSpec) -> tuple[Check, ...]:
    """Names the layers of the sandbox that nodes did not have, of every stage that runs programs.

    A stage fails where a layer is missing that it cannot do without.
    """
    if spec.reasoning != "program":
        return ()
    return tuple(
        Check(
            reason="SandboxIncomplete",
            figure=f"number of pods without the sandbox layer {layer}",
            numerator=f"sandbox-without-{layer}",
            limit=0,
            at_least=False,
            action="Warn",
            advice="programs ran under all others; a ComputeProfile with sandbox: required "
            "refuses such nodes",
        )
        for layer in s.SANDBOX_LAYERS
    )


def sft_epochs(spec: ReFTSpec) -> float:
    """Returns the epochs of SFT that take the compute of the reinforcement.

    Counted in forward passes, a backward pass as two: SFT needs 3 a row. An answer of PPO needs
    one to be sampled, one each for the old and the reference policy, and 3 in each pass; GRPO
    saves the old one if it has a single pass. That sampling is slower than a forward pass on the
    same tokens is not counted, nor is a separate value network.
    """
    wanted = spec.rollouts
    fixed = 2 if isinstance(wanted, Grpo) and wanted.passes == 1 else 3
    return wanted.epochs * _group(spec) * (fixed + 3 * wanted.passes) / 3


def _group(spec: ReFTSpec) -> int:
    """Returns how many answers to a question a rollout has."""
    return 1 if isinstance(spec.rollouts, Ppo) else spec.rollouts.group_size


def _baseline(spec: ReFTSpec, name: str) -> list[Stage]:
    if name == "sft":
        return [_sft(spec, BASELINES[name], spec.warm_up, sft_epochs(spec), {"model": WARM_UP})]
    if name == "online-self-training":
        config = s.TrainOnlineSt.model_validate(
            {**_online(spec, spec.rollouts), "epochs": spec.rollouts.epochs * _group(spec)}
        )
        return [_training_stage(spec, BASELINES[name], config, {"model": WARM_UP})]
    build = Stage(
        name="build-self-training",
        config=s.BuildSelfTraining(seed=spec.seed, keep=spec.self_training.keep),
        job="build-self-training",
        iteration=1,
        inputs={"samples": "sample-train", "questions": "prepare-train"},
    )
    rows = {"model": "import-model", "questions": build.name}
    return [build, _sft(spec, BASELINES[name], spec.warm_up, spec.self_training.epochs, rows)]


def _sft(
    spec: ReFTSpec, name: str, fields: TrainingFields, epochs: float, inputs: dict[str, str]
) -> Stage:
    config = s.TrainSft.model_validate(
        {**training(spec, fields), "epochs": epochs, "validation": _validation(spec)}
    )
    return _training_stage(spec, name, config, inputs)


def _sample(
    spec: ReFTSpec, name: str, model: str, split: str, samples: int, *, greedy: bool = False
) -> Stage:
    return Stage(
        name=name,
        config=s.Sample(
            seed=spec.seed,
            per_question=samples,
            greedy=greedy,
            sampling=sampling(spec.sampling),
            answers=_answers(spec),
        ),
        job=name,
        iteration=1,
        inputs={"model": model, "questions": f"prepare-{split}"},
        shards=spec.shards,
        checks=_sandbox_checks(spec),
    )


def _evaluate(spec: ReFTSpec, name: str, model: str) -> list[Stage]:
    sample = _sample(spec, f"sample-test-{name}", model, "test", spec.voting.samples, greedy=True)
    evaluate = Stage(
        name=f"evaluate-{name}",
        config=s.EvaluateAnswers(seed=spec.seed, answers=_answers(spec)),
        job=f"evaluate-{name}",
        inputs={"samples": sample.name},
        shards=spec.shards,
    )
    if spec.shards == 1:
        # Counting votes is no work: where one pod has all the samples, it does that as well.
        sample = replace(sample, job=evaluate.job)
        evaluate = replace(evaluate, job_compute=sample.compute)
    return [replace(stage, iteration=_iteration(name)) for stage in (sample, evaluate)]


def _reranker(spec: ReFTSpec) -> Stage:
    start = REFT if spec.reranker.start == "reft" else WARM_UP
    return Stage(
        name="train-reranker",
        config=s.TrainReranker.model_validate(training(spec, spec.reranker)),
        job="train-reranker",
        iteration=1,
        inputs={"model": start, "samples": "sample-train"},
    )


def _rerank(spec: ReFTSpec, name: str) -> Stage:
    return Stage(
        name=f"rerank-{name}",
        config=s.RerankAnswers(
            seed=spec.seed, answers=_answers(spec), max_length=spec.reranker.max_length
        ),
        job="rerank" if spec.shards == 1 else f"rerank-{name}",
        iteration=1,
        inputs={"samples": f"sample-test-{name}", "reranker": "train-reranker"},
        shards=spec.shards,
    )
