"""What the operator measures of itself."""

from typing import Any

from autodidact_operator.telemetry import Telemetry


def run(kind: str, **status: Any) -> dict[str, Any]:
    """A run as far as it is counted."""
    return {"kind": kind, "status": status}


def test_runs_are_counted_by_kind_and_phase() -> None:
    """A run without status is of unknown phase, and what no run has any more is gone."""
    telemetry = Telemetry()
    telemetry.count_runs([run("ReFTRun", phase="Failed")])
    telemetry.count_runs(
        [run("ReFTRun", phase="Running"), run("ReFTRun", phase="Running"), run("X")]
    )
    text = telemetry.exposition().decode()
    assert 'autodidact_runs{kind="ReFTRun",phase="Running"} 2.0' in text
    assert 'autodidact_runs{kind="X",phase="Unknown"} 1.0' in text
    assert 'phase="Failed"' not in text


def test_hindered_runs_are_counted_by_their_first_reason() -> None:
    """Only a run that waits for something counts, under the reason of its first condition."""
    telemetry = Telemetry()
    conditions = [{"reason": "StoreUnavailable"}, {"reason": "Working"}]
    waits = run("ReFTRun", waitingSince="2026-03-01T12:00:00Z", conditions=conditions)
    telemetry.count_runs([waits, run("ReFTRun", conditions=conditions)])
    text = telemetry.exposition().decode()
    assert 'autodidact_hindered_runs{kind="ReFTRun",reason="StoreUnavailable"} 1.0' in text


def test_requests_are_counted_by_code() -> None:
    """One series a verb, resource and code."""
    telemetry = Telemetry()
    for code in (200, 200, 409):
        telemetry.request("create", "jobs", code)
    text = telemetry.exposition().decode()
    name = "autodidact_api_requests_total"
    assert f'{name}{{code="200",resource="jobs",verb="create"}} 2.0' in text
    assert f'{name}{{code="409",resource="jobs",verb="create"}} 1.0' in text
