"""Whether the watches are alive."""

from autodidact_operator.cluster.resources import JOBS, PODS
from autodidact_operator.cluster.watches import WatchHealth
from support.control import Clock


def test_the_quietest_watch_of_a_kind_counts() -> None:
    """Of two namespaces' watches the older news decide; without any, the time since the start."""
    clock = Clock()
    health = WatchHealth((JOBS, PODS), clock)
    clock.advance(10)
    health.saw("/apis/batch/v1/namespaces/a/jobs")
    clock.advance(5)
    health.saw("/apis/batch/v1/namespaces/b/jobs")
    clock.advance(1)
    assert health.ages() == {"jobs.batch": 6, "pods": 16}


def test_paths_of_other_kinds_are_no_watch_of_ours() -> None:
    """What kopf reads besides changes nothing."""
    health = WatchHealth((JOBS,), Clock())
    health.saw("/api/v1/namespaces")
    health.listed("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert health.ages() == {"jobs.batch": 0}
    assert not health.relisted.is_set()


def test_a_list_is_told_once() -> None:
    """A kind that kopf listed anew is handed out once, and the flag is down again."""
    health = WatchHealth((JOBS, PODS), Clock())
    health.listed("/apis/batch/v1/jobs")
    health.listed("/apis/batch/v1/jobs")
    assert health.relisted.is_set()
    assert health.take_relisted() == (JOBS,)
    assert not health.relisted.is_set()
    assert health.take_relisted() == ()
