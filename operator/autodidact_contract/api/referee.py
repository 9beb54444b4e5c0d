"""Who decides which of two replies is better."""

from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import StringConstraints

from autodidact_contract.api.rules import Rule, Ruled
from autodidact_contract.api.run import Name, Source
from autodidact_contract.base import SELF_REWARDING as SR
from autodidact_contract.base import doc


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and not parts.query and "@" not in url


class Endpoint(Ruled):
    """A server that speaks OpenAI's protocol."""

    RULES: "ClassVar[tuple[Rule[Endpoint], ...]]" = (
        Rule(
            message="url must be an http or https address without user, query and fragment",
            cel="isURL(self.url) && url(self.url).getHostname() != '' "
            "&& size(url(self.url).getQuery()) == 0 && !self.url.contains('@')",
            holds=lambda endpoint: _is_address(endpoint.url),
        ),
    )

    url: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=1024,
            pattern=r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?$",
        ),
    ] = doc(
        ...,
        "Its address up to and with the version, for example https://judge.example/v1. Which "
        "addresses a namespace may use without a Secret is the administrator's setting, as for "
        "inputs.",
    )
    model: str = doc(..., "The model's name there.", min_length=1, max_length=256)
    secret_name: Name | None = doc(
        None, "Secret in the run's namespace with the key apiKey, if the server wants one."
    )

    @property
    def uri(self) -> str:
        """The address, for the check of locations."""
        return self.url


class Referee(Ruled):
    """A judge of two replies, asked in both orders; orders that disagree are a tie."""

    RULES: "ClassVar[tuple[Rule[Referee], ...]]" = (
        Rule(
            message="judge fixed and judgeModel need each other",
            cel="(has(self.judge) && self.judge == 'fixed') == has(self.judgeModel)",
            holds=lambda referee: (referee.judge == "fixed") == (referee.judge_model is not None),
        ),
        Rule(
            message="judge endpoint and endpoint need each other",
            cel="(has(self.judge) && self.judge == 'endpoint') == has(self.endpoint)",
            holds=lambda referee: (referee.judge == "endpoint") == (referee.endpoint is not None),
        ),
    )

    judge: Literal["first", "current", "fixed", "endpoint", "oracle"] = doc(
        "first",
        "first is M1; current is M(t), the model that the round starts from; fixed is the model of "
        "judgeModel; endpoint is a server (its answers may change, and with them the run's); oracle "
        "is the exact answer of a toy:// task.",
        f"{SR} section 3.1.3 uses GPT-4 and Claude 2",
    )
    judge_model: Source | None = doc(None, "The fixed judge.")
    endpoint: Endpoint | None = doc(None, "The server that judges.")


class Checkpoints(Referee):
    """Choice of the checkpoint while DPO trains (arXiv 2401.10020 section 3.1.3)."""

    every_steps: int = doc(
        200, "Optimiser steps between two checkpoints.", f"{SR} section 3.1.3", ge=1, le=1000000
    )
    prompts: int = doc(
        253,
        "Validation prompts that each checkpoint answers: the first so many of data.validation, or "
        "of those put aside from data.ranked. Each checkpoint costs so many replies and twice as "
        "many comparisons.",
        f"{SR} section 3.1.3",
        ge=1,
        le=100000,
    )
    patience: int = doc(
        1,
        "Checkpoints in a row that do not win more battles against the best one before than they "
        "lose, after which training ends. The best one is kept in any case.",
        f"not stated in {SR}; chosen here",
        ge=1,
        le=1000,
    )
