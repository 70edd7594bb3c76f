"""The scaffold that One2Scene's authors released: Fast3R's backbone and an 83-channel Gaussian head, without fusion."""

from onescene.models.one2scene_release.gaussians import ReleaseGaussians, as_gaussians
from onescene.models.one2scene_release.network import (
    KEY_PREFIX,
    RELEASED,
    ReleaseConfig,
    ReleasePrediction,
    ReleaseScaffold,
)

__all__ = [
    "KEY_PREFIX",
    "RELEASED",
    "ReleaseConfig",
    "ReleaseGaussians",
    "ReleasePrediction",
    "ReleaseScaffold",
    "as_gaussians",
]
