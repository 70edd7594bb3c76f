"""NIQE, how far the local statistics of pictures are from those of undistorted photographs (Mittal et al. 2013).

No reference is needed beside the mean and covariance of features of good photographs (:class:`Pristine`), which are
read elsewhere (``models/niqe.py``). Follows the authors' Matlab release: grey levels rounded, patches of 96 px, all
patches of the tested picture, second scale by an antialiased bicubic reduction (torch's, whose kernel ends at the
border where Matlab's goes on mirrored: up to half a percent of the result on pictures of a few patches).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

PATCH_PX = 96
FEATURES = 36
_LUMA_BT601 = (65.481, 128.553, 24.966)  # of RGB in [0, 1], plus 16: Matlab's rgb2ycbcr, as most evaluations feed it
_WINDOW_PX, _SIGMA_PX = 7, 7 / 6
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True)
class Pristine:
    """Features of undistorted photographs.

    Attributes:
        mean: Of the features.
        covariance: Of the features.
    """

    mean: Float[Tensor, " features"]
    covariance: Float[Tensor, "features features"]


class NoTexture(ValueError):
    """Pictures too plain to be judged by their texture."""


def niqe(images: Float[Tensor, "*batch 3 height width"], pristine: Pristine) -> float:
    """Distance of pictures from undistorted photographs; smaller is better, good photographs have 2 to 5.

    Args:
        images: RGB in [0, 1], sides >= 96 px; the patches of all of them make one score.
        pristine: What good photographs have.

    Raises:
        ValueError: the pictures are too small or not finite.
        NoTexture: they are without texture in all but one patch (a ValueError too).
    """
    features = niqe_features(images)
    if len(features) < 2:
        raise NoTexture(f"images must have at least 2 patches of {PATCH_PX} px with texture, got {len(features)}")
    centred = features - features.mean(dim=0)
    covariance = centred.T @ centred / (len(features) - 1)
    away = pristine.mean.double() - features.mean(dim=0)
    inverse = torch.linalg.pinv((pristine.covariance.double() + covariance) / 2, hermitian=True)
    return float((away @ inverse @ away).clamp_min(0).sqrt())


def niqe_features(images: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "patches 36"]:
    """The 36 features of every patch of 96 px, 18 at each of two scales, float64; flat patches are left out.

    A patch without any texture (a white sky that is clipped) has no distribution to fit.

    Raises:
        ValueError: sides under 96 px, or values that are not finite.
    """
    if images.ndim < 3 or images.shape[-3] != 3 or min(images.shape[-2:]) < PATCH_PX:
        raise ValueError(f"images must be [*, 3, H, W] with H and W >= {PATCH_PX}, got {list(images.shape)}")
    if not torch.isfinite(images).all():
        raise ValueError("images must be finite, got nan or inf")
    height, width = (side // PATCH_PX * PATCH_PX for side in images.shape[-2:])
    rgb = images.detach().double().reshape(-1, *images.shape[-3:])[..., :height, :width]
    grey = ((rgb * rgb.new_tensor(_LUMA_BT601)[:, None, None]).sum(1, keepdim=True) + 16).round()
    half = F.interpolate(grey, scale_factor=0.5, mode="bicubic", antialias=True)
    features = torch.cat([_patch_features(x, size) for x, size in ((grey, PATCH_PX), (half, PATCH_PX // 2))], dim=1)
    return features[torch.isfinite(features).all(dim=1)]


def _patch_features(grey: Tensor, patch_px: int) -> Tensor:
    """18 features of every patch of one scale [patches, 18]."""
    patches = F.unfold(_normalised(grey), patch_px, stride=patch_px)  # [images, px, patches]
    x = patches.movedim(1, 2).reshape(-1, patch_px, patch_px)
    shape, left, right = _fit(x.flatten(1))
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:  # neighbours are taken around the patch's border, as in the release
        shape, left, right = _fit((x * x.roll(shift, dims=(1, 2))).flatten(1))
        ratio = (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()
        features += [shape, (right - left) * ratio, left, right]
    return torch.stack(features, dim=1)


def _normalised(grey: Tensor) -> Tensor:
    """Local mean removed, local deviation (+ 1) divided by; the border is repeated outwards."""
    x = torch.arange(_WINDOW_PX, dtype=grey.dtype) - _WINDOW_PX // 2
    line = (-(x**2) / (2 * _SIGMA_PX**2)).exp()
    window = (line[:, None] * line / line.sum() ** 2)[None, None].to(grey)

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(F.pad(values, [_WINDOW_PX // 2] * 4, mode="replicate"), window)

    centre = mean(grey)
    return (grey - centre) / ((mean(grey**2) - centre**2).abs().sqrt() + 1)


@cache
def _shapes() -> tuple[Tensor, Tensor]:
    """Shape parameters of generalised Gaussians, and the ratio of moments that each has."""
    shape = torch.arange(0.2, 10.0005, 0.001, dtype=torch.float64)
    ratio = (2 * torch.lgamma(2 / shape) - torch.lgamma(1 / shape) - torch.lgamma(3 / shape)).exp()
    return shape, ratio


def _fit(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Asymmetric generalised Gaussians of the rows: shape, left and right width, by moments (Lasmar et al. 2009)."""
    left, right = (_deviation(x, side) for side in (x < 0, x > 0))
    skew = left / right
    ratio = x.abs().mean(1) ** 2 / (x**2).mean(1) * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes, ratios = _shapes()
    index = torch.searchsorted(ratios.to(x), ratio.nan_to_num(0.5)).clamp(1, len(shapes) - 1)
    nearer_below = (ratios.to(x)[index] - ratio).abs() > (ratios.to(x)[index - 1] - ratio).abs()
    shape = shapes.to(x)[index - nearer_below.long()]
    width = ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()
    return shape, left * width, right * width


def _deviation(x: Tensor, side: Tensor) -> Tensor:
    """Root mean square of the values on one side of zero; NaN where there are none."""
    return ((x**2 * side).sum(1) / side.sum(1)).sqrt()
