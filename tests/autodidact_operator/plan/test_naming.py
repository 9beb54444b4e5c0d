import re

import pytest

from autodidact_operator.plan.naming import job_name
from support import builders
from support.builders import ref, spec

RUN_NAMES = ("a", "llama", "7b.base", "x" * 63, "a-" * 31 + "b", "v1.2-rc.3", "0" * 63)


@pytest.mark.parametrize("run_name", RUN_NAMES)
def test_names_are_valid_everywhere(run_name: str) -> None:
    """Names of Jobs also name Services, pods and hosts, for runs of any name and length."""
    longest = builders.graph(spec(iterations=100, shards=1024))
    for job in {stage.job for stage in longest.stages}:
        name = job_name(ref(run_name), job, 99999)
        assert re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", name)
        assert len(f"{name}-1023") <= 63


def test_names_are_deterministic() -> None:
    """The same run, job and attempt have the same name; another of the three has another."""
    name = job_name(ref(), "judge-1", 1)
    assert name == job_name(ref(namespace="elsewhere"), "judge-1", 1)
    others = [
        job_name(ref(uid="another"), "judge-1", 1),
        job_name(ref(), "judge-2", 1),
        job_name(ref(), "judge-1", 2),
    ]
    assert len({name, *others}) == 4


def test_long_names_stay_apart() -> None:
    """Two runs whose names begin alike have Jobs of different names."""
    one, two = ref("x" * 62 + "a", uid="1"), ref("x" * 62 + "b", uid="2")
    assert job_name(one, "report", 1) != job_name(two, "report", 1)
