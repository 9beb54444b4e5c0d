"""Who judges the battles of two models, and how they are fought."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from autodidact_contract import stages as s
from autodidact_contract.api.referee import Referee
from autodidact_contract.api.selfreward import SelfRewardSpec
from autodidact_operator.plan.graphs.parts import sampling


@dataclass(frozen=True, kw_only=True)
class Appointed:
    """A judge of two replies, and what it needs.

    Attributes:
        judge: What it is, as in ``stages.Contest``.
        inputs: The model that judges, where it is one.
        server: The server that judges, where it is one.
        secret: Name of the Secret with the server's key.
    """

    judge: Literal["model", "server", "oracle"]
    inputs: Mapping[str, str] = field(default_factory=dict)
    server: s.Server | None = None
    secret: str | None = None


def appoint(wanted: Referee, *, first: str, current: str, fixed: str) -> Appointed:
    """Returns the judge of two replies that a run wants.

    Args:
        wanted: What the run says.
        first: Stage that makes M1.
        current: Stage that makes the model the round starts from.
        fixed: Stage that brings the fixed judge.
    """
    models = {"first": first, "current": current, "fixed": fixed}
    if wanted.judge in models:
        return Appointed(judge="model", inputs={"referee": models[wanted.judge]})
    if wanted.endpoint is None:
        return Appointed(judge="oracle")
    server = s.Server(url=wanted.endpoint.url, model=wanted.endpoint.model)
    return Appointed(judge="server", server=server, secret=wanted.endpoint.secret_name)


def contest(spec: SelfRewardSpec, by: Appointed, prompts: int) -> s.Contest:
    """Returns how battles over so many prompts are fought and judged."""
    return s.Contest(
        rubric=spec.judge.rubric,
        judge=by.judge,
        server=by.server,
        judge_sampling=sampling(spec.judge),
        reply_sampling=sampling(spec.responses),
        prompts=prompts,
    )
