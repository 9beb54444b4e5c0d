from typing import Any

import pytest

from autodidact_worker.generation.transformers import TransformersGenerator

pytestmark = pytest.mark.usefixtures("short_rubric")


def test_the_same_opponent_is_met_once(
    bench: Any, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its names, a model answers once, and its battles cost no second comparison."""
    config, inputs = stages["evaluate by referee"]
    made: list[int] = []
    real = TransformersGenerator.generate

    def counting(self: Any, requests: Any, *rest: Any) -> Any:
        made.append(sum(request.n for request in requests))
        return real(self, requests, *rest)

    monkeypatch.setattr(TransformersGenerator, "generate", counting)
    bench.run(config, **inputs)
    once, before = sum(made), len(made)
    bench.run(config, **inputs, first=inputs["previous"], baseline=inputs["previous"])
    assert sum(made[before:]) == once


def test_equal_models_draw_every_battle(bench: Any, stages: dict[str, Any]) -> None:
    """Both models sample with the same noise, so a model draws with itself without a referee."""
    config, inputs = stages["evaluate by referee"]
    given = bench.run(config, **inputs | {"previous": inputs["model"]})
    assert bench.result(given).metrics["drawRate"] == 1.0
