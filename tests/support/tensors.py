"""Comparing tensors with numbers computed by hand."""

import pytest
from torch import Tensor


def near(tensor: Tensor, values: list[float], tolerance: float = 2e-6) -> bool:
    """Whether a tensor has these values."""
    return tensor.flatten().tolist() == pytest.approx(values, abs=tolerance)
