"""Where the API server keeps objects, and what the operator calls a run."""

from autodidact_operator.cluster.resources import JOBS, PODS, PROFILES, RunKey, key_of_run


def test_paths_of_objects() -> None:
    """Groups are below /apis, the core group below /api; namespaces only where objects have one."""
    assert JOBS.path("team", "a") == "/apis/batch/v1/namespaces/team/jobs/a"
    assert JOBS.path() == "/apis/batch/v1/jobs"
    assert PODS.path("team", "a", "status") == "/api/v1/namespaces/team/pods/a/status"
    assert PROFILES.path("team", "gpu") == "/apis/autodidact.dev/v1alpha1/computeprofiles/gpu"


def test_names_of_kinds() -> None:
    """Role rules and manifests spell the core group in their own way."""
    assert (JOBS.name, JOBS.api_version) == ("jobs.batch", "batch/v1")
    assert (PODS.name, PODS.api_version) == ("pods", "v1")


def test_a_run_is_known_by_kind_namespace_and_name() -> None:
    """Two runs of one name differ by kind or namespace."""
    key = key_of_run({"kind": "ReFTRun", "metadata": {"namespace": "team", "name": "a"}})
    assert key == RunKey("ReFTRun", "team", "a")
    assert str(key) == "ReFTRun/team/a"
