"""What a fit makes small: the photometric loss of 3D Gaussian Splatting, and an optional one on disparity."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.metrics import ssim_map

COVERED = 0.5  # a pixel covered less has no depth of its own


def photometric_loss(
    predicted: Float[Tensor, "*batch channels height width"],
    true: Float[Tensor, "*batch channels height width"],
    ssim_weight: float,
) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM), Eq. 7 of 3D Gaussian Splatting."""
    absolute = (predicted - true).abs().mean()
    if ssim_weight == 0:
        return absolute
    return (1 - ssim_weight) * absolute + ssim_weight * (1 - ssim_map(predicted, true).mean())


def disparity_loss(
    depth_z_sum: Float[Tensor, "*batch height width"],
    alpha: Float[Tensor, "*batch height width"],
    true_depth_z: Float[Tensor, "*batch height width"],
) -> Float[Tensor, ""]:
    """L1 between disparities, as gsplat's depth loss: mean over the pixels that have both [1 / world units].

    Args:
        depth_z_sum: Alpha-weighted depth, as ``render`` gives it [world units].
        alpha: How far the pixel is covered; below one half it has no depth.
        true_depth_z: Depth to be reached [world units]; what is not finite and positive is unknown.
    """
    known = torch.isfinite(true_depth_z) & (true_depth_z > 0) & (alpha > COVERED)
    true = torch.where(known, true_depth_z, torch.ones_like(true_depth_z))
    seen = torch.where(known, alpha, torch.ones_like(alpha)) / torch.where(
        known, depth_z_sum, torch.ones_like(alpha)
    ).clamp_min(1e-12)
    return ((seen - 1 / true).abs() * known).sum() / known.sum().clamp_min(1)
