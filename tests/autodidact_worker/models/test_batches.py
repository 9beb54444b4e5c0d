from autodidact_worker.models.batches import by_length


def test_rows_of_similar_length_come_together() -> None:
    """Longest first, as many as fit, and one at least."""
    found = list(by_length([3, 9, 2, 4, 30], 10))
    assert found == [[4], [1], [3, 0], [2]]
