"""The pages of whole runs of both kinds."""

import pytest

from autodidact_contract.api import kinds
from support import reft_report_inputs, report_inputs
from support.report_page import make


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a whole run."""
    folder = tmp_path_factory.mktemp("whole")
    return make(folder, report_inputs.whole(folder / "inputs").inputs)


@pytest.fixture(scope="session")
def reft_html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a whole ReFT run."""
    folder = tmp_path_factory.mktemp("whole")
    return make(
        folder, reft_report_inputs.whole(folder / "inputs").inputs, title="chains", kind=kinds.REFT
    )
