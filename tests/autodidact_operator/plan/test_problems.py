import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from autodidact_contract.api.status import RunStatus
from autodidact_operator.plan.decide import hindered, refused
from autodidact_operator.plan.problems import TABLE, Problem
from autodidact_operator.runs import published
from autodidact_store.errors import CorruptError, StoreError
from support import builders

REASON = re.compile(r"[A-Z][A-Za-z]*")


def store_errors(root: type[StoreError] = StoreError) -> Iterator[type[StoreError]]:
    """Yields every kind of error of the store."""
    yield root
    for kind in root.__subclasses__():
        yield from store_errors(kind)


def test_every_error_of_the_store_has_a_row() -> None:
    """No error of the store leaves a run without a way to be treated; all of them may pass."""
    for kind in store_errors():
        error = kind("a", "b", "c") if kind is CorruptError else kind("a")
        problem = published.problem(error)
        assert (problem.row.deadline_counts, problem.row.ends_jobs) == (True, False), kind
        assert problem.message == str(error)


def test_a_row_is_of_one_of_three_kinds() -> None:
    """A problem ends the run at once, or the run looks again; only then may a deadline count."""
    for reason, row in TABLE.items():
        assert REASON.fullmatch(reason)
        assert row.ends_jobs == (row.look_again_s is None), reason
        assert not (row.ends_jobs and row.deadline_counts), reason


@pytest.mark.parametrize("reason", [reason for reason, row in TABLE.items() if not row.ends_jobs])
def test_a_run_waits_as_its_row_says(reason: str) -> None:
    """The run is looked at again after the row's seconds, and fails only where a deadline counts."""
    problem, run = Problem(reason, "why"), builders.run()
    first = hindered(run, problem, RunStatus(), builders.NOW)
    assert (first.status.phase, first.delete, first.look_again_s) == ("Pending", (), 5.0)
    assert bool(first.status.waiting_since) == problem.row.deadline_counts
    long_after = builders.NOW + timedelta(seconds=run.spec.start_deadline_seconds)
    last = hindered(run, problem, first.status, long_after)
    assert last.status.phase == ("Failed" if problem.row.deadline_counts else "Pending")
    assert last.look_again_s == (None if problem.row.deadline_counts else 5.0)


@pytest.mark.parametrize("reason", [reason for reason, row in TABLE.items() if row.ends_jobs])
def test_a_run_ends_as_its_row_says(reason: str) -> None:
    """The run fails at once, its Jobs are ended, and nobody looks again before it changes."""
    at_work = builders.job("import", builders.pod())
    last = refused(1, Problem(reason, "why"), (at_work,), builders.begun(), builders.NOW)
    assert (last.status.phase, last.delete) == ("Failed", (at_work.name,))
    assert (last.look_again_s, last.wake_at) == (None, None)
