from support.report_page import cells


def test_greedy_quality_stands_beside_that_of_samples(html: str) -> None:
    """One cell has both."""
    assert cells(html, "M1")[0] == "3.31 greedy 3.41"
