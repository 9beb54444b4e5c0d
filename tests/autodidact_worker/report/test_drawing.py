import re

from autodidact_worker.report.drawing import POINTS, thin


def test_plots_are_accessible_text(html: str) -> None:
    """Every plot has a title and a description, and its words are words, not outlines."""
    pictures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(pictures) == 8
    for picture in pictures:
        assert re.match(r'<svg role="img" aria-labelledby="(\w+)-title \1-description"', picture)
        assert "<title" in picture
        assert "<desc" in picture
        assert "<text" in picture


def test_long_curves_are_averaged() -> None:
    """A long log becomes few points whose mean is the log's."""
    points = thin([(float(step), 1.0) for step in range(10 * POINTS)])
    assert len(points) == POINTS
    assert points[0] == (4.5, 1.0)
