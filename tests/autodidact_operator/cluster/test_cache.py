from collections.abc import Iterable
from typing import Any

import pytest

from autodidact_operator.cluster import cache as caches
from autodidact_operator.cluster.cache import Cache
from autodidact_operator.cluster.resources import JOBS, PODS, PROFILES, RunKey
from support.control import RUNS, Body, body, of_run

KEY = RunKey("SelfRewardRun", "research", "a")


@pytest.fixture
def cache() -> Cache:
    """A cache with one run."""
    made = Cache([RUNS])
    made.apply(RUNS, "ADDED", body(RUNS, "a", spec={"iterations": 2}))
    return made


def job(name: str = "job", **more: Any) -> Body:
    """A Job of the run `a`."""
    return body(JOBS, name, labels=of_run(), **more)


def names(bodies: Iterable[Body]) -> list[str]:
    """The names of objects."""
    return [b["metadata"]["name"] for b in bodies]


def test_a_snapshot_holds_what_belongs_to_the_run(cache: Cache) -> None:
    """Jobs, Pods and profiles are found without a search, and only the run's own."""
    cache.apply(JOBS, "ADDED", job("mine"))
    cache.apply(JOBS, "ADDED", body(JOBS, "other", labels=of_run("b")))
    cache.apply(PODS, "ADDED", body(PODS, "pod", labels=of_run()))
    cache.apply(PROFILES, "ADDED", body(PROFILES, "cpu", spec={"image": "x"}))
    snapshot = cache.snapshot(KEY)
    assert names(snapshot.jobs) == ["mine"]
    assert names(snapshot.pods) == ["pod"]
    assert snapshot.profiles == {"cpu": {"image": "x"}}


def test_an_unknown_run_has_no_snapshot(cache: Cache) -> None:
    """A run that is not there has no snapshot."""
    assert cache.snapshot(KEY._replace(name="b")) is None


def test_labels_do_not_reach_across_namespaces(cache: Cache) -> None:
    """A Job in another namespace is not the run's, whatever its labels say."""
    cache.apply(JOBS, "ADDED", body(JOBS, "fake", labels=of_run(), namespace="evil"))
    assert cache.snapshot(KEY).jobs == ()


def test_an_event_names_the_run_even_before_the_run_is_known() -> None:
    """A Job's labels are enough to know whom to look at."""
    assert Cache([RUNS]).apply(JOBS, "ADDED", job()) == [KEY]


def test_a_jobs_of_a_kind_we_do_not_know_concerns_nobody() -> None:
    """Labels of a foreign kind lead nowhere."""
    assert Cache([]).apply(JOBS, "ADDED", job()) == []


def test_older_news_is_no_news(cache: Cache) -> None:
    """An event older than what is known, or just as old, changes nothing."""
    cache.apply(JOBS, "ADDED", job(version=700, status={"failed": 1}))
    assert cache.apply(JOBS, "MODIFIED", job(version=699, status={})) == []
    assert cache.apply(JOBS, "MODIFIED", job(version=700, status={})) == []
    assert cache.snapshot(KEY).jobs[0]["status"] == {"failed": 1}


def test_versions_are_numbers(cache: Cache) -> None:
    """Version 1000 is newer than version 999."""
    cache.apply(JOBS, "ADDED", job(version=999))
    assert cache.apply(JOBS, "MODIFIED", job(version=1000, status={"failed": 1})) == [KEY]


def test_the_deleted_stay_deleted(cache: Cache) -> None:
    """A late event does not revive an object that was seen deleted."""
    cache.apply(JOBS, "ADDED", job(version=700))
    assert cache.apply(JOBS, "DELETED", job(version=702)) == [KEY]
    assert cache.apply(JOBS, "MODIFIED", job(version=701)) == []
    assert cache.snapshot(KEY).jobs == ()


def test_a_deletion_we_made_ourselves_holds(cache: Cache) -> None:
    """After a delete of our own, the next decision does not see the object."""
    mine = job(version=700)
    cache.apply(JOBS, "ADDED", mine)
    cache.observe_delete(JOBS, mine)
    cache.apply(JOBS, "MODIFIED", job(version=701))
    assert cache.snapshot(KEY).jobs == ()


def test_a_creation_we_made_ourselves_is_seen_at_once(cache: Cache) -> None:
    """After a create of our own, the next decision sees the object, and its event is no news."""
    cache.observe_write(JOBS, job(version=700))
    assert names(cache.snapshot(KEY).jobs) == ["job"]
    assert cache.apply(JOBS, "ADDED", job(version=700)) == []


def test_a_new_object_of_an_old_name_replaces_it(cache: Cache) -> None:
    """A late deletion of the old one leaves the new one alone."""
    cache.apply(JOBS, "ADDED", job(uid="old", version=700))
    cache.apply(JOBS, "ADDED", job(uid="new", version=702))
    assert cache.apply(JOBS, "DELETED", job(uid="old", version=701)) == []
    assert [j["metadata"]["uid"] for j in cache.snapshot(KEY).jobs] == ["new"]


def test_a_run_created_again_does_not_inherit(cache: Cache) -> None:
    """A run of the same name has another UID, and so other Jobs."""
    cache.apply(JOBS, "ADDED", job())
    cache.apply(RUNS, "ADDED", body(RUNS, "a", uid="second"))
    assert cache.snapshot(KEY).jobs == ()
    assert cache.run_uids() == {"second"}


def test_a_list_purges_ghosts(cache: Cache) -> None:
    """What a LIST does not have is gone, and its run is to be looked at."""
    cache.apply(JOBS, "ADDED", job("ghost", version=700))
    cache.apply(JOBS, "ADDED", job("alive", version=701))
    assert cache.replace(JOBS, [job("alive", version=701)], "800") == [KEY]
    assert names(cache.snapshot(KEY).jobs) == ["alive"]


def test_a_list_spares_what_is_newer(cache: Cache) -> None:
    """An object created after the LIST was made is not a ghost."""
    cache.observe_write(JOBS, job("new", version=801))
    assert cache.replace(JOBS, [], "800") == []
    assert names(cache.snapshot(KEY).jobs) == ["new"]


def test_a_list_does_not_revive(cache: Cache) -> None:
    """An object deleted while the LIST was under way stays deleted."""
    cache.apply(JOBS, "ADDED", job(version=700))
    cache.apply(JOBS, "DELETED", job(version=801))
    assert cache.replace(JOBS, [job(version=700)], "800") == []
    assert cache.snapshot(KEY).jobs == ()


def test_a_list_that_agrees_changes_nothing(cache: Cache) -> None:
    """A LIST equal to what is known names no run."""
    cache.apply(JOBS, "ADDED", job(version=700))
    assert cache.replace(JOBS, [job(version=700)], "800") == []


def test_a_list_of_one_namespace_purges_only_there(cache: Cache) -> None:
    """A LIST of one namespace says nothing about another."""
    cache.apply(JOBS, "ADDED", job(version=700))
    assert cache.replace(JOBS, [], "800", "elsewhere") == []
    assert cache.replace(JOBS, [], "800", "research") == [KEY]


def test_a_profile_concerns_every_run(cache: Cache) -> None:
    """When a profile changes, all runs are to be looked at."""
    assert cache.apply(PROFILES, "ADDED", body(PROFILES, "cpu", spec={})) == [KEY]
    assert cache.apply(PROFILES, "DELETED", body(PROFILES, "cpu")) == [KEY]
    assert cache.snapshot(KEY).profiles == {}


def test_bulk_is_not_kept(cache: Cache) -> None:
    """managedFields, pod templates and pod specs are dropped, the parts that matter stay."""
    cache.apply(JOBS, "ADDED", job(spec={"completions": 2, "template": {"spec": {}}}))
    status = {"phase": "Running", "podIP": "1", "containerStatuses": [{"name": "w", "image": "i"}]}
    spec = {"containers": [{}], "nodeName": "n"}
    cache.apply(PODS, "ADDED", body(PODS, "pod", labels=of_run(), spec=spec, status=status))
    snapshot = cache.snapshot(KEY)
    assert snapshot.jobs[0]["spec"] == {"completions": 2}
    assert "managedFields" not in snapshot.run["metadata"]
    assert snapshot.pods[0]["spec"] == {"nodeName": "n"}
    assert snapshot.pods[0]["status"] == {
        "phase": "Running",
        "containerStatuses": [{"name": "w"}],
    }


def test_finalizers_are_kept_of_deleted_pods_alone(cache: Cache) -> None:
    """What tells whether a deleted pod is a failure of its Job is there; of others it is bulk."""
    finalizers = ["batch.kubernetes.io/job-tracking"]
    for name, deleted in (
        ("alive", {}),
        ("deleted", {"deletionTimestamp": "2026-03-01T12:00:00Z"}),
    ):
        pod = body(PODS, name, labels=of_run())
        pod["metadata"] |= {"finalizers": list(finalizers), **deleted}
        cache.apply(PODS, "ADDED", pod)
    alive, deleted_pod = cache.snapshot(KEY).pods
    assert "finalizers" not in alive["metadata"]
    assert deleted_pod["metadata"]["finalizers"] == finalizers


def test_a_change_of_what_nobody_reads_is_no_news(cache: Cache) -> None:
    """A Job's counters change with every pod: the version moves on, and nobody is woken."""
    spec = {"completions": 2}
    cache.apply(JOBS, "ADDED", job(version=700, spec=dict(spec), status={"active": 0}))
    assert cache.apply(JOBS, "MODIFIED", job(version=701, spec=spec, status={"active": 1})) == []
    assert cache.snapshot(KEY).jobs[0]["metadata"]["resourceVersion"] == "701"


def test_memory_of_deletions_is_bounded(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many deleted UIDs are remembered."""
    monkeypatch.setattr(caches, "REMEMBERED_DELETIONS", 3)
    for number in range(10):
        cache.apply(JOBS, "DELETED", job(f"job-{number}"))
    assert len(cache._deleted) == 3


def test_nothing_is_left_of_a_run_and_its_children(cache: Cache) -> None:
    """After all objects are gone, the indexes are empty."""
    cache.apply(JOBS, "ADDED", job())
    cache.apply(JOBS, "DELETED", job())
    cache.apply(RUNS, "DELETED", body(RUNS, "a"))
    assert cache.run_keys() == []
    assert cache._children == {JOBS.name: {}, PODS.name: {}}
    assert cache.key_of("uid-a") is None
