"""How the commands end."""

import pytest

from autodidact_operator.cli.console import EXIT_FAILED, fail


def test_an_error_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The process ends with the code; the message is shown as it is, brackets and all."""
    with pytest.raises(SystemExit) as ended:
        fail("no [bold]such[/bold] thing", EXIT_FAILED)
    assert ended.value.code == EXIT_FAILED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip() == "Error: no [bold]such[/bold] thing"
