import pytest

from autodidact_worker.report.shares import Paired, paired, wilson


@pytest.mark.parametrize(
    ("won", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (139, 256, 0.4818, 0.6030),
    ],
)
def test_wilson(won: int, n: int, low: float, high: float) -> None:
    """Intervals equal published values of Wilson's method."""
    found = wilson(won, n)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_wilson_without_trials() -> None:
    """No trials give no interval."""
    assert wilson(0, 0) is None


@pytest.mark.parametrize(
    ("table", "p"),
    [
        ((5, 10, 2, 5), 158 / 4096),  # 2 (1 + 12 + 66) / 2^12
        ((5, 2, 10, 5), 158 / 4096),
        ((3, 0, 0, 5), 1.0),
        ((0, 4, 4, 0), 1.0),
        ((0, 6, 0, 0), 2 / 64),
        ((0, 3000, 0, 0), 0.0),
    ],
)
def test_mcnemar(table: tuple[int, int, int, int], p: float) -> None:
    """P-values are those of a fair coin, summed by hand."""
    both, ours, theirs, neither = table
    pair = Paired(both=both, only_ours=ours, only_theirs=theirs, neither=neither)
    assert pair.p == pytest.approx(p)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Unrelated answers (phi 0): sqrt(2) times half of Wilson's interval of 50 in 100.
        ((25, 25, 25, 25), -0.1360, 0.1360),
        # Bentur et al. 2009, as printed by Fagerland, Lydersen and Laake 2014.
        ((1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_interval_of_a_difference(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe's intervals equal published ones, and turn round with the two models."""
    both, ours, theirs, neither = table
    pair = Paired(both=both, only_ours=ours, only_theirs=theirs, neither=neither)
    assert pair.interval == pytest.approx((low, high), abs=5e-4)
    other = Paired(both=both, only_ours=theirs, only_theirs=ours, neither=neither)
    assert other.interval == pytest.approx((-pair.interval[1], -pair.interval[0]))


def test_only_shared_questions_are_paired() -> None:
    """Questions that one model was not asked are left out."""
    pair = paired({"a": True, "b": False, "c": True}, {"b": True, "c": True, "d": False})
    assert pair == Paired(both=1, only_ours=0, only_theirs=1, neither=0)
    assert paired({"a": True}, {"b": True}) is None
