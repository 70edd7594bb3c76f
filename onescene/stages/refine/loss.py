"""What a fit makes small: the photometric loss of 3D Gaussian Splatting, and an optional one on disparity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WINDOW_PX, SIGMA_PX = 11, 1.5  # SSIM's Gaussian window (Wang et al. 2004, Sec. III.C)
C1, C2 = 0.01**2, 0.03**2  # its constants for a data range of 1
COVERED = 0.5  # a pixel covered less has no depth of its own


class _Blur(torch.autograd.Function):
    """Gaussian window over every channel; symmetric, hence its own transpose."""

    @staticmethod
    def forward(ctx, image):
        line = torch.arange(WINDOW_PX, dtype=image.dtype, device=image.device) - WINDOW_PX // 2
        line = torch.exp(-(line**2) / (2 * SIGMA_PX**2))
        channels, reach = image.shape[1], WINDOW_PX // 2
        line = (line / line.sum()).expand(channels, 1, WINDOW_PX)
        # channels_last, and down before across: several times faster on a CPU
        image = image.contiguous(memory_format=torch.channels_last)
        image = F.conv2d(image, line[..., None], padding=(reach, 0), groups=channels)
        return F.conv2d(image, line[..., None, :], padding=(0, reach), groups=channels).contiguous()

    @staticmethod
    def backward(ctx, grad):
        return _Blur.apply(grad)


def ssim(
    predicted: Float[Tensor, "*batch channels height width"], true: Float[Tensor, "*batch channels height width"]
) -> Float[Tensor, ""]:
    """Structural similarity, mean over all pixels and channels: window 11 px, sigma 1.5 px, zero padding, as in 3DGS.

    Args:
        predicted: Images in [0, 1]; differentiable.
        true: Images in [0, 1].
    """
    x = predicted.reshape(-1, *predicted.shape[-3:])
    y = true.reshape(-1, *true.shape[-3:])
    mean_x, mean_y, xx, yy, xy = _Blur.apply(torch.cat((x, y, x * x, y * y, x * y), dim=1)).chunk(5, dim=1)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    top = (2 * product + C1) * (2 * (xy - product) + C2)
    bottom = (squares + C1) * (xx + yy - squares + C2)
    return (top / bottom).mean()


def photometric_loss(
    predicted: Float[Tensor, "*batch channels height width"],
    true: Float[Tensor, "*batch channels height width"],
    ssim_weight: float,
) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM), Eq. 7 of 3D Gaussian Splatting."""
    absolute = (predicted - true).abs().mean()
    if ssim_weight == 0:
        return absolute
    return (1 - ssim_weight) * absolute + ssim_weight * (1 - ssim(predicted, true))


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
