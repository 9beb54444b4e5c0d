"""Where the time goes."""

import time

import pytest

from autodidact_worker.runtime.clock import Clock


def test_a_phase_within_another_counts_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 s, 3 s and 1 s of which were within; the seconds of an earlier attempt are added."""
    times = iter((0.0, 2.0, 5.0, 6.0, 7.0, 10.0, 20.0, 24.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    clock = Clock({"learning": 100.0})
    with clock("learning"):
        with clock("sampling"):
            pass
        with clock("reward"):
            pass
    with clock("learning"):
        pass
    assert clock.seconds == {"learning": 110.0, "sampling": 3.0, "reward": 1.0}


def test_a_phase_that_fails_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it ends, what it took is counted, and the phase around it goes on."""
    times = iter((0.0, 1.0, 3.0, 4.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    clock = Clock()
    with clock("learning"), pytest.raises(ValueError, match="no"), clock("reward"):
        raise ValueError("no")
    assert clock.seconds == {"reward": 2.0, "learning": 2.0}
