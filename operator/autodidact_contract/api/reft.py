"""ReFTRun: ReFT, Reasoning with Reinforced Fine-Tuning, Luong et al., arXiv 2401.08967.

SFT on one chain of thought per question is the warm-up. Then PPO samples many ways to the answer
of the same questions and learns from whether the answer is right. Voting over samples and a
reranker come on top, and the paper's baselines can be run beside it from the same warm-up.

Every default is the paper's. Where its text and its published code differ, or both are silent, the
description says what was chosen.
"""

from typing import ClassVar, Literal

from autodidact_contract.api.answers import CODE, NOT_STATED, AnswerFields
from autodidact_contract.api.reft_rules import RULES
from autodidact_contract.api.run import Gate, RunSpec, Source
from autodidact_contract.api.training import TrainingFields
from autodidact_contract.base import REFT, Schema, doc

GRPO = "arXiv 2402.03300"

Baseline = Literal["sft", "offline-self-training", "online-self-training"]


class Questions(Schema):
    """The three splits, each JSON Lines of {id, question, reasoning, answer, options}."""

    train: Source = doc(
        ...,
        "Questions to learn from; reasoning is one chain of thought (or the body of solution() "
        "where reasoning is program) and must be there. GSM8K has 7,465.",
        f"{REFT} table 1",
    )
    validation: Source = doc(
        ...,
        "Questions that choose the checkpoint; reasoning may be missing.",
        f"{CODE} chooses on the test split instead",
    )
    test: Source = doc(
        ...,
        "Questions that measure the finished models, once; reasoning may be missing. GSM8K has "
        "1,319.",
        f"{REFT} table 1",
    )


class _Training(TrainingFields):
    """What all training of a ReFTRun shares."""

    final_learning_rate: float = doc(
        0.0, "Learning rate at the last step.", f"{REFT} appendix B", ge=0, le=1
    )
    dropout: float = doc(
        0.0,
        "Dropout while training. A model that has no place for it is refused unless this is 0; "
        "how many modules it changed is recorded.",
        NOT_STATED,
        ge=0,
        lt=1,
    )


class WarmUp(_Training):
    """SFT of the given model on the chains of thought; an early stop of a long schedule."""

    epochs: float = doc(
        40.0,
        "Length of the schedule in passes over the questions; it is not followed to its end.",
        f"{REFT} section 4.3",
        gt=0,
        le=10000,
    )
    stop_epochs: float = doc(
        2.0,
        "The warm-up ends after so many of these passes; k of the paper: 2 for GSM8K and SVAMP, 5 "
        "or 2 for MathQA choices, 10 for MathQA numbers.",
        f"{REFT} section 4.3 and {CODE}",
        gt=0,
        le=10000,
    )
    until_accuracy: float | None = doc(
        None,
        "The warm-up ends at the first measurement on the validation questions that is at least "
        "this, and after stopEpochs at the latest. From 0.3 to 0.5 there is something to "
        "reinforce and much left to learn. Unset: stopEpochs decides alone.",
        NOT_STATED,
        gt=0,
        le=1,
    )
    learning_rate: float = doc(
        1e-5, "Learning rate at its highest.", f"{REFT} section 4.3", gt=0, le=1
    )
    schedule: Literal["cosine", "linear", "constant"] = doc(
        "linear", "How the learning rate falls.", f"{REFT} appendix B"
    )
    warmup_ratio: float = doc(
        0.1,
        "Share of all steps of the schedule in which the learning rate rises; counts where "
        "warmupSteps is 0.",
        f"{REFT} appendix B",
        ge=0,
        le=1,
    )
    batch_size: int = doc(
        48,
        "Rows per optimiser step, over all processes.",
        f"{REFT} section 4.3",
        ge=1,
        le=65536,
    )
    max_length: int = doc(
        1024,
        "Tokens per row; longer rows are cut and counted.",
        f"{REFT} section 4.3",
        ge=8,
        le=1048576,
    )


class Rollouts(_Training):
    """What PPO and GRPO share: they learn from answers that they sample."""

    schedule: Literal["cosine", "linear", "constant"] = doc(
        "constant", "How the learning rate falls.", f"{REFT} appendix B"
    )
    max_question_tokens: int = doc(
        300,
        "Tokens of a prompt at most; longer ones are refused before any GPU is used, where the "
        "published code cuts off the end that asks for the answer.",
        f"{REFT} section 4.3",
        ge=8,
        le=1048576,
    )


class Ppo(Rollouts):
    """PPO on sampled answers, with a value head on the policy's own backbone."""

    epochs: float = doc(300.0, "Visits to each question.", f"{REFT} section 4.3", gt=0, le=100000)
    learning_rate: float = doc(
        3e-7, "Learning rate; 3e-6 for models below 1B.", f"{REFT} section 4.3", gt=0, le=1
    )
    batch_size: int = doc(
        32, "Questions, and answers, of a rollout.", f"{REFT} section 4.3", ge=1, le=65536
    )
    mini_batch_size: int | None = doc(
        None,
        "Answers of an optimiser step, over all processes. Unset: batchSize, so that a pass over "
        "a rollout is one step.",
        CODE,
        ge=1,
        le=65536,
    )
    passes: int = doc(2, "Passes over each rollout.", f"{REFT} section 4.3", ge=1, le=64)
    max_length: int = doc(
        700, "Tokens of prompt and answer.", f"{REFT} section 4.3", ge=8, le=1048576
    )
    beta: float | None = doc(
        None,
        "Weight of the KL penalty in the reward, fixed. Unset: 0.01 for programs, 0.05 for "
        "language.",
        f"{REFT} section 4.3",
        ge=0,
        le=10,
    )
    gamma: float = doc(
        1.0,
        "Discount. The paper's text has the values of gamma and lambda the other way round; its "
        "code decides.",
        CODE,
        gt=0,
        le=1,
    )
    gae_lambda: float = doc(0.95, "Lambda of generalised advantage estimation.", CODE, ge=0, le=1)
    clip_ratio: float = doc(
        0.2, "Epsilon of the clipped policy loss.", f"{REFT} section 4.3", gt=0, lt=1
    )
    clip_value: float = doc(
        0.2, "Range of the clipped value loss.", f"{REFT} section 4.3", gt=0, le=100
    )
    value_coefficient: float = doc(
        5.0, "Weight of the value loss.", f"{REFT} section 4.3", ge=0, le=100
    )
    value_head: Literal["random", "zero"] = doc(
        "random",
        "How the value head begins: random is torch's initialisation of a linear layer, which "
        "costs some accuracy at first; zero does not.",
        CODE,
    )
    value_network: Literal["shared", "separate"] = doc(
        "shared",
        "Whether the value head sits on the policy's backbone, or on a copy of it with weights "
        "of its own, which takes about twice the compute and memory.",
        f"{REFT} section 4.4",
    )
    value_warmup_steps: int = doc(
        0,
        "First rollouts that teach the value head alone, with the policy and its backbone fixed.",
        NOT_STATED,
        ge=0,
        le=1000000,
    )


class Grpo(Rollouts):
    """GRPO by TRL, with the settings of its paper where TRL's differ."""

    epochs: float = doc(
        1.0, "Visits to each question.", "TRL, for want of a source", gt=0, le=100000
    )
    learning_rate: float = doc(1e-6, "Learning rate.", f"{GRPO} section 4.2", gt=0, le=1)
    batch_size: int = doc(
        16,
        "Questions of an optimiser step; each gives groupSize answers.",
        f"{GRPO} section 4.2: 1,024 answers",
        ge=1,
        le=65536,
    )
    group_size: int = doc(64, "Answers per question.", f"{GRPO} section 4.2", ge=2, le=1024)
    passes: int = doc(
        1, "Passes over each rollout; mu of the paper.", f"{GRPO} section 4.2", ge=1, le=64
    )
    max_length: int = doc(
        1024, "Tokens of prompt and answer.", f"{GRPO} section 4.2", ge=8, le=1048576
    )
    beta: float = doc(
        0.04,
        "Weight of the KL term in the loss. With 0 the reference model is kept, and the KL "
        "measured, only where gates.maxKl is set.",
        f"{GRPO} section 4.2",
        ge=0,
        le=10,
    )
    clip_ratio: float = doc(0.2, "Epsilon of the clipped loss.", "PPO's usual value", gt=0, lt=1)


class RewardFields(Schema):
    """What an answer is worth."""

    partial: float = doc(
        0.1, "Reward of a wrong answer that can be read.", f"{REFT} section 3.1", ge=0, lt=1
    )
    partial_when: Literal["numeric", "always"] = doc(
        "numeric",
        "Which answers can earn it: numbers only, as the paper says, or all, as the published "
        "code does (where choices then never earn 0).",
        f"{REFT} section 3.1",
    )
    missing_eos_penalty: float = doc(
        0.0, "Subtracted from the reward of an answer that was cut.", NOT_STATED, ge=0, le=10
    )


class SamplingFields(Schema):
    """How answers are sampled: in rollouts, for voting, and for the reranker's training."""

    temperature: float = doc(1.0, "Sampling temperature.", f"{REFT} section 4.3", gt=0, le=2)
    top_p: float = doc(
        1.0,
        "Nucleus: smallest set of tokens with this probability.",
        f"{REFT} section 4.3",
        gt=0,
        le=1,
    )
    max_new_tokens: int = doc(
        700,
        "Tokens of an answer at most; a rollout's are also bounded by maxLength, all by the "
        "model's context.",
        f"{REFT} section 4.3 bounds prompt and answer together instead: by 700 in rollouts, by "
        "1024 for voting and for samples of the training questions",
        ge=1,
        le=131072,
    )
    train_samples: int = doc(
        100,
        "Answers of the warm-up model to each training question, for offline self-training and "
        "for the reranker; sampled only if one of them is on.",
        f"{REFT} section 4.3",
        ge=1,
        le=10000,
    )


class SelfTraining(Schema):
    """Offline self-training, if it is among the baselines."""

    keep: int = doc(
        10, "Right samples of a question at most.", f"{REFT} section 4.3", ge=1, le=10000
    )
    epochs: float = doc(
        20.0,
        "Passes over the grown data, from the given model, with the warm-up's other settings.",
        f"{REFT} section 4.3",
        gt=0,
        le=10000,
    )


class Voting(Schema):
    """Majority vote over samples of each test question."""

    samples: int = doc(
        100,
        "Answers per test question and model; 0: greedy accuracy only.",
        f"{REFT} section 4.3",
        ge=0,
        le=10000,
    )


class Reranker(_Training):
    """The outcome classifier that picks among the samples of each test question."""

    enabled: bool = doc(
        True,
        "Whether there is one. Costs sampling.trainSamples answers per training question.",
        f"{REFT} section 4.3",
    )
    start: Literal["reft", "warm-up"] = doc(
        "reft", "The model whose weights the classifier starts from.", f"{REFT} section 4.3"
    )
    epochs: float = doc(3.0, "Passes over the samples.", f"{REFT} section 4.3", gt=0, le=10000)
    learning_rate: float = doc(
        1e-6, "Learning rate at its highest.", f"{REFT} section 4.3", gt=0, le=1
    )
    schedule: Literal["cosine", "linear", "constant"] = doc(
        "linear", "How the learning rate falls.", CODE
    )
    batch_size: int = doc(
        48,
        "Samples per optimiser step; the published code has 24.",
        f"{REFT} section 4.3",
        ge=1,
        le=65536,
    )
    max_length: int = doc(
        700, "Tokens of prompt and answer.", f"{REFT} section 4.3", ge=8, le=1048576
    )


class EvaluationFields(Schema):
    """Measurements on the validation questions while models are trained."""

    every_epochs: float = doc(
        1.0, "Passes over the questions between two measurements.", CODE, gt=0, le=100000
    )
    questions: int = doc(
        1000, "Validation questions at most: the first so many.", NOT_STATED, ge=1, le=1000000
    )


class Gates(Schema):
    """Limits that stop a run instead of letting it train on noise.

    A minimum with the limit 0 is off. So is a gate set to null, but kubectl apply drops nulls when
    it creates an object, and the default comes back; kubectl apply --server-side does not.
    """

    min_warm_up_accuracy: Gate | None = doc(
        Gate(limit=0.01, action="Fail"),
        "Accuracy of the warm-up model on the validation questions. Where nothing is right, "
        "there is nothing to reinforce.",
        NOT_STATED,
    )
    max_kl: Gate | None = doc(
        Gate(limit=100, action="Stop"),
        "Mean KL of a rollout's answers from the warm-up model, in nats per answer. Beyond it "
        "training ends at once and the best model so far is kept; Stop goes on with that one, "
        "Fail ends the run. The paper sees 0 to 10.",
        f"{REFT} section 5.1",
    )
    max_truncation: Gate | None = doc(
        None,
        "Share of cut answers in the last tenth of the rollouts.",
        NOT_STATED,
    )


class ReFTSpec(RunSpec):
    """What to improve, on which questions, and how."""

    RULES: ClassVar = RULES

    model: Source = doc(..., "A causal language model in Hugging Face layout, safetensors.")
    data: Questions = doc(..., "Questions with answers.")
    reasoning: Literal["language", "program"] = doc(
        "language",
        "What the model writes: language, ending in the trigger and the answer, or the body of a "
        "Python function whose result is the answer, run in a sandbox.",
        f"{REFT} section 4.1 has both",
    )
    algorithm: Literal["ppo", "grpo"] = doc(
        "ppo", "How the policy learns. grpo needs no value model.", f"{REFT} section 3.2"
    )
    baselines: tuple[Baseline, ...] = doc(
        (),
        "What else to train from the same warm-up and report beside it: sft goes on with SFT for "
        "the same compute as ReFT (in forward and backward passes); online-self-training has "
        "ReFT's own schedule and samples as many answers, so that with grpo it visits each "
        "question groupSize times as often; offline-self-training has that of selfTraining.",
        f"{REFT} section 4.2",
        max_length=3,
    )
    warm_up: WarmUp = doc(WarmUp(), "SFT before reinforcement.")
    ppo: Ppo = doc(Ppo(), "Reinforcement, where algorithm is ppo.")
    grpo: Grpo = doc(Grpo(), "Reinforcement, where algorithm is grpo.")
    reward: RewardFields = doc(RewardFields(), "Rewards.")
    answers: AnswerFields = doc(AnswerFields(), "Reading and comparing answers.")
    sampling: SamplingFields = doc(SamplingFields(), "Sampling of answers.")
    self_training: SelfTraining = doc(SelfTraining(), "Offline self-training.")
    voting: Voting = doc(Voting(), "Majority voting.")
    reranker: Reranker = doc(Reranker(), "Reranking.")
    evaluation: EvaluationFields = doc(EvaluationFields(), "Validation.")
    gates: Gates = doc(Gates(), "Health gates.")

    @property
    def rollouts(self) -> Ppo | Grpo:
        """The settings of the algorithm that was chosen."""
        return self.ppo if self.algorithm == "ppo" else self.grpo
