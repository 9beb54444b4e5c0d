import re
from collections.abc import Iterator

from autodidact_operator.plan.problems import TABLE
from autodidact_operator.runs import published
from autodidact_store.errors import CorruptError, StoreError

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
