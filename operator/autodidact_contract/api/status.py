"""What the operator writes about a run."""

from typing import Literal

from pydantic import Field

from autodidact_contract.base import Schema


class Condition(Schema):
    """As metav1.Condition."""

    type: str = Field(
        description="Ready, Reconciling, Stalled, Succeeded, Suspended, or Degraded: the run goes "
        "on, but something about it is not as it should be."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(max_length=1024, description="Why, in one CamelCase word.")
    message: str = Field("", max_length=32768, description="Why, and what to do, in a sentence.")
    last_transition_time: str = Field(description="When its status changed last.")
    observed_generation: int = Field(0, description="Generation of the run it was found for.")


class StageStatus(Schema):
    """A stage of the current iteration."""

    name: str = Field(description="Name in the run's graph, for example judge-1.")
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Skipped"] = Field(
        description="Where it is; Skipped follows from a gate."
    )
    job: str = Field("", description="Name of its Job, while there is one.")
    reason: str = Field("", description="Why it waits, or why its last attempt ended.")
    message: str = Field("", description="The same in a sentence.")
    artifact: str = Field("", description="What it published, <kind>-<key>.")


class JobStatus(Schema):
    """What must survive the operator about one Job of the graph that is not done yet."""

    name: str = Field(description="Name of the Job in the run's graph, for example sample-1.")
    attempt: int = Field(0, description="Last attempt that was created.")
    counted: int = Field(0, description="Last attempt whose end was taken into account.")
    failures: int = Field(0, description="Failures charged to backoffLimit.")
    out_of_memory: int = Field(0, description="Failures for want of memory.")
    disruptions: int = Field(0, description="Attempts that ended without being charged.")
    retry_at: str | None = Field(None, description="Not before this time.")
    reason: str = Field("", description="Why the last attempt that was counted ended.")
    message: str = Field("", description="The same in a sentence.")


class Iteration(Schema):
    """One line of history: a model, and what was measured on it."""

    iteration: int = Field(description="Its number; 0 is the warm-up.")
    name: str = Field("", description="What made the model, for example warm-up, ppo, sft.")
    model: str = Field("", description="The model it made, <kind>-<key>.")
    acceptance: float | None = Field(
        None, description="Share of the ranked prompts whose judgements agreed with the people's."
    )
    scores_before: tuple[int, ...] | None = Field(
        None,
        description="Judgements kept of each score from 0 on, before rebalancing; a fraction counts "
        "with the whole score below it.",
    )
    scores_after: tuple[int, ...] | None = Field(None, description="The same after it.")
    pairs: int | None = Field(
        None,
        description="Preference pairs; where learning is positive, replies with the best score.",
    )
    mean_score: float | None = Field(None, description="Mean score of the replies.")
    quality: float | None = Field(None, description="The model's quality by a toy task's oracle.")
    win_rate: float | None = Field(None, description="Won battles against the model before it.")
    gain: float | None = Field(
        None, description="Share of won battles against the model before it minus lost ones."
    )
    length_ratio: float | None = Field(
        None, description="Mean length of the model's replies, divided by that of M1's."
    )
    judge_accuracy: float | None = Field(
        None, description="Pairwise accuracy of the model as a judge on the held-out rankings."
    )
    accuracy: float | None = Field(None, description="Greedy accuracy on the test questions.")
    vote_accuracy: float | None = Field(None, description="Accuracy of the majority vote.")
    rerank_accuracy: float | None = Field(None, description="Accuracy after reranking.")


class RunStatus(Schema):
    """Status of every kind of run; at most 32 KiB whatever its size."""

    observed_generation: int = Field(0, description="Generation of the run this is about.")
    phase: Literal["Pending", "Running", "Suspended", "Succeeded", "Failed"] = Field(
        "Pending", description="For people; programs read the conditions."
    )
    iteration: str = Field("", description="Current and last iteration, for example 2/3.")
    stage: str = Field("", description="Stage at work.")
    progress: str = Field("", description="Share of the stage that is done, for example 40%.")
    eta: str = Field("", description="Estimated time to the end of the stage.")
    score: str = Field("", description="Best known figure of the current model.")
    model: str = Field("", description="Folder of the last good model.")
    origin: str = Field("", description="Artifact <kind>-<key> that spec.from was found to be.")
    report: str = Field("", description="Folder of the HTML report.")
    started_at: str | None = Field(None, description="When the operator first saw the run.")
    finished_at: str | None = Field(None, description="When it succeeded or failed.")
    waiting_since: str | None = Field(None, description="Since when something hinders the run.")
    history: tuple[Iteration, ...] = Field((), description="What each iteration brought.")
    stages: tuple[StageStatus, ...] = Field((), description="Stages of the current iteration.")
    jobs: tuple[JobStatus, ...] = Field((), description="Attempts of the Jobs that are not done.")
    conditions: tuple[Condition, ...] = Field((), description="For programs, as in kstatus.")
