"""The feature statistics of undistorted photographs that NIQE compares with, as its authors published them."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

_PATH = Path(__file__).parent / "weights" / "niqe-live.safetensors"


def pristine_statistics() -> tuple[Tensor, Tensor]:
    """Mean [36] and covariance [36, 36] of 125 photographs' patches, float64; the card has the licence."""
    with safe_open(_PATH, framework="pt") as file:
        return file.get_tensor("mean"), file.get_tensor("covariance")
