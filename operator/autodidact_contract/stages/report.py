"""Config of the stage that writes a run's page."""

from typing import Literal

from autodidact_contract.stages.base import StageConfig


class Report(StageConfig):
    """One offline HTML page. Inputs: every finished stage of the run under its stage name."""

    stage: Literal["report"] = "report"
    title: str
