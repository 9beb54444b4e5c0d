"""Whole runs whose pods are played: what the operator does between stages, and what it costs."""

import statistics

import pytest

from autodidact_operator.cluster import labels
from support import manifests
from support.deployed import ACCOUNT, House, Place, conditions, digests
from tools import auditing
from tools.cluster.waiting import eventually


def test_a_run_goes_through_all_its_stages(place: Place) -> None:
    """A run Succeeds, with one Job per job of its graph and at most four writes per stage."""
    name = place.apply(manifests.scripted(place.namespace, iterations=2))
    status = place.until_ended(name)
    assert status["phase"] == "Succeeded", status
    assert conditions(status) == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Succeeded": "True",
        "Suspended": "False",
    }
    uid = place.run(name)["metadata"]["uid"]
    created = place.created_jobs(uid)
    assert set(created.values()) == {1}
    assert len(created) == 4 + 4 * 2
    stages = digests(place.record(uid))
    assert len(stages) == 8 + 6 * 2
    writes = auditing.operator_writes(place.house.cluster.audit_log, place.namespace, ACCOUNT)
    assert sum(writes.values()) <= 4 * len(stages), writes
    gaps = sorted(auditing.stage_gaps(place.house.cluster.audit_log, place.namespace))
    worst = gaps[min(len(gaps) - 1, round(0.99 * len(gaps)))]
    print(f"\ngaps of {len(gaps)} Jobs: p50 {statistics.median(gaps):.3f} s, p99 {worst:.3f} s")
    print(f"writes per stage: {sum(writes.values()) / len(stages):.2f} {dict(writes)}")


@pytest.mark.usefixtures("collector")
def test_a_run_that_was_deleted_and_applied_again_adopts_everything(place: Place) -> None:
    """The same manifest once more Succeeds with the same artifacts and without a Job."""
    body = manifests.scripted(place.namespace)
    name = place.apply(body)
    place.until_ended(name)
    first = place.run(name)["metadata"]["uid"]
    made = digests(place.record(first))
    place.delete(name)
    place.apply(body)
    status = place.until_ended(name)
    second = place.run(name)["metadata"]["uid"]
    assert (status["phase"], second != first) == ("Succeeded", True)
    assert not place.created_jobs(second)
    assert digests(place.record(second)) == made
    # The first run went with its Jobs, once the collector has caught up with a restarted API server.
    eventually(lambda: not place.jobs(), timeout_s=120)


def test_a_second_run_adopts_what_it_has_in_common_with_the_first(place: Place) -> None:
    """Another name and one more iteration: only what is new is done."""
    first = place.apply(manifests.scripted(place.namespace, "first"))
    place.until_ended(first)
    second = place.apply(manifests.scripted(place.namespace, "second", iterations=2))
    assert place.until_ended(second)["phase"] == "Succeeded"
    uids = [place.run(name)["metadata"]["uid"] for name in (first, second)]
    jobs = {job["metadata"]["labels"][labels.JOB] for job in place.jobs(second)}
    assert jobs == {"sample-2", "build-pairs-2", "train-dpo-2", "evaluate-2", "report"}
    before, after = (digests(place.record(uid)) for uid in uids)
    assert {name: after[name] for name in before if name != "report"} == {
        name: digest for name, digest in before.items() if name != "report"
    }


def test_shards_give_what_one_pod_gives(place: Place) -> None:
    """Sampling stages become Indexed Jobs with a pod for each shard; the run Succeeds."""
    name = place.apply(manifests.scripted(place.namespace, shards=3))
    assert place.until_ended(name)["phase"] == "Succeeded"
    completions = {
        job["metadata"]["labels"][labels.JOB]: job["spec"]["completions"]
        for job in place.jobs(name)
    }
    assert completions["judge-1"] == completions["generate-responses-1"] == 3
    assert completions["train-sft"] == completions["generate-prompts-1"] == 1


def test_two_runs_of_one_name_in_two_namespaces_do_not_meet(house: House, place: Place) -> None:
    """Each run has its own Jobs and artifacts below its own namespace's prefix."""
    other = house.place(f"{place.namespace}-b")
    names = [p.apply(manifests.scripted(p.namespace, "same")) for p in (place, other)]
    for where, name in zip((place, other), names, strict=True):
        status = where.until_ended(name)
        assert status["phase"] == "Succeeded"
        assert status["model"].startswith(f"{where.namespace}/")
        assert set(where.created_jobs().values()) == {1}
        assert len(where.created_jobs()) == 8
    house.cluster.kubectl("delete", "namespace", other.namespace, "--wait=false")


def test_the_store_goes_away_and_comes_back(house: House, place: Place) -> None:
    """While the store is down a run says so; when it is back the run goes on and Succeeds."""
    name = manifests.scripted(place.namespace)["metadata"]["name"]
    place.script(name).after["train-sft", 1] = house.cluster.kill_minio
    place.apply(manifests.scripted(place.namespace))
    try:
        text = place.until_says(name, "StoreUnavailable", 90)
    finally:
        house.cluster.start_minio()
    assert house.cluster.minio.endpoint in text or "s3://autodidact" in text
    assert place.until_ended(name)["phase"] == "Succeeded"
    assert set(place.created_jobs().values()) == {1}


def test_an_api_server_that_restarts_is_nothing_to_a_run(house: House, place: Place) -> None:
    """Watches break and are taken up again; no Job is created twice."""
    body = manifests.scripted(place.namespace)
    name = body["metadata"]["name"]
    place.script(name).before["train-dpo-1", 1] = house.cluster.restart_api_server
    place.apply(body)
    assert place.until_ended(name, 120)["phase"] == "Succeeded"
    assert set(place.created_jobs().values()) == {1}
