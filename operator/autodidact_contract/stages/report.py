"""Config of the stage that writes a run's page."""

from typing import ClassVar, Literal

from autodidact_contract.stages.base import Names, StageConfig


class Report(StageConfig):
    """One offline HTML page of the inputs: every finished stage of the run under its name."""

    TAKES_ANY: ClassVar = True
    COUNTS: ClassVar[Names] = ("rounds", "models")

    stage: Literal["report"] = "report"
    title: str
