"""What a Job carries."""

from typing import Any

import pytest
from pydantic import ValidationError

from autodidact_contract.task import Input, Task

ARTIFACT = {"artifact": f"import-{32 * '0'}", "digest": 64 * "0"}


def test_an_input_has_one_source() -> None:
    """It is a published artifact with its digest, or a stage of the same task; not both or none."""
    assert Input.model_validate(ARTIFACT).stage is None
    assert Input(stage="judge-1").artifact is None
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"artifact": ARTIFACT["artifact"]},
        {"digest": ARTIFACT["digest"]},
        {**ARTIFACT, "stage": "judge-1"},
    )
    for fields in wrong:
        with pytest.raises(
            ValidationError, match="an artifact with its digest or an earlier stage"
        ):
            Input.model_validate(fields)


def test_a_task_of_another_protocol_is_refused() -> None:
    """An old worker does not guess what a newer operator means."""
    run = {"kind": "ReFTRun", "namespace": "team", "name": "a", "uid": "1"}
    stage = {"name": "report", "config": {"stage": "report", "title": "a"}}
    task = {"run": run, "job": "report", "attempt": 1, "stages": [stage]}
    assert Task.model_validate(task).protocol == 1
    with pytest.raises(ValidationError, match="protocol"):
        Task.model_validate({**task, "protocol": 2})
    with pytest.raises(ValidationError, match="stages"):
        Task.model_validate({**task, "stages": []})
