"""Refine: Gaussians are fitted to posed views, L1 + D-SSIM (Eq. 7 of 3D Gaussian Splatting), and their holes filled.

Gaussians -> + one Gaussian per pixel that no Gaussian covers (add_hole_gaussians)
    -> Adam on offsets [own sizes], quats, log scales, logit opacities, sh; one random view per step -> best state
       |-> each view may bend and tint what is rendered (view_models), Gaussians may come and go (strategies)
"""

from onescene.stages.holes import HolesConfig, add_hole_gaussians
from onescene.stages.refine.config import (
    MATRIX_3D,
    RECIPES,
    SMALL,
    TRUE_VIEWS,
    WORLD_RECIPE,
    DefaultConfig,
    DistortionConfig,
    McmcConfig,
    RefineConfig,
)
from onescene.stages.refine.fit import AnotherFitError, Checkpoint, Fit, RefineCheck, RefineOutput, run
from onescene.stages.refine.loss import disparity_loss, photometric_loss
from onescene.stages.refine.panoramas import keyframes, panorama_crops
from onescene.stages.refine.views import FitView, Supervision, list_views

__all__ = [
    "MATRIX_3D",
    "RECIPES",
    "SMALL",
    "TRUE_VIEWS",
    "WORLD_RECIPE",
    "AnotherFitError",
    "Checkpoint",
    "DefaultConfig",
    "DistortionConfig",
    "Fit",
    "FitView",
    "HolesConfig",
    "McmcConfig",
    "RefineCheck",
    "RefineConfig",
    "RefineOutput",
    "Supervision",
    "add_hole_gaussians",
    "disparity_loss",
    "keyframes",
    "list_views",
    "panorama_crops",
    "photometric_loss",
    "run",
]
