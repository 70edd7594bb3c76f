"""Image metrics: PSNR and SSIM, with the conventions of the 3D Gaussian Splatting papers.

SSIM differs by up to 0.03 between libraries that all call it SSIM (window, border), so the key says which one it is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

PSNR_CAP_DB = 100.0  # two equal images have an infinite PSNR, which no mean and no JSON file survives
_WINDOW_PX, _SIGMA_PX = 11, 1.5  # Wang et al. 2004, Sec. III.C, as the 3DGS papers use it
_C1, _C2 = 0.01**2, 0.03**2  # for a data range of 1


def _check_images(predicted: Tensor, true: Tensor, mask: Tensor | None = None) -> None:
    if predicted.shape != true.shape:
        raise ValueError(
            f"predicted and true must have one shape, got {tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    if true.ndim < 3 or true.numel() == 0:
        raise ValueError(f"true must have shape [*, C, H, W], got {tuple(true.shape)}")
    for name, image in (("predicted", predicted), ("true", true)):
        if not torch.isfinite(image).all():
            raise ValueError(f"{name} must be finite, got nan or inf")
    if mask is not None:
        allowed = (tuple(true.shape[-2:]), (*true.shape[:-3], *true.shape[-2:]))
        if tuple(mask.shape) not in allowed:
            raise ValueError(f"mask must have shape {allowed[0]} or {allowed[1]}, got {tuple(mask.shape)}")


def _flat(x: Tensor) -> Tensor:
    return x.detach().double().reshape(-1, *x.shape[-3:])


def _flat_mask(mask: Tensor | None, true: Tensor) -> Tensor:
    """The mask of every image, [B, 1, H, W], float64."""
    batch, hw = true.shape[:-3], true.shape[-2:]
    mask = torch.ones(hw, dtype=torch.bool, device=true.device) if mask is None else mask.bool()
    mask = mask.expand(*batch, *hw).reshape(-1, 1, *hw)
    empty = ~mask.flatten(1).any(1)
    if empty.any():
        raise ValueError(
            f"mask must hold at least one pixel of every image, got none in image {int(empty.nonzero()[0])}"
        )
    return mask.double()


def _db(mse: Tensor) -> Tensor:
    return (-10 * mse.clamp_min(10 ** (-PSNR_CAP_DB / 10)).log10()).clamp_max(PSNR_CAP_DB)


def _mse(predicted: Tensor, true: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Squared error and number of values in the mask, per image."""
    weight = _flat_mask(mask, true)
    square = (weight * (_flat(predicted) - _flat(true)) ** 2).sum(dim=(1, 2, 3))
    return square, weight.sum(dim=(1, 2, 3)) * true.shape[-3]


def psnr(
    predicted: Float[Tensor, "*batch channels height width"],
    true: Float[Tensor, "*batch channels height width"],
    *,
    mask: Shaped[Tensor, "*_ height width"] | None = None,
) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio of each image [dB], data range 1, at most 100 dB (which equal images get).

    Args:
        predicted: Images in [0, 1]; not clamped.
        true: Images in [0, 1].
        mask: Where to look (True or 1), for each image or one for all.

    Returns:
        One value per image of the flattened batch, float64.

    Raises:
        ValueError: shapes differ, values are not finite, or the mask is empty.
    """
    _check_images(predicted, true, mask)
    square, count = _mse(predicted, true, mask)
    return _db(square / count)


def _window_mean(x: Tensor) -> Tensor:
    """Gaussian mean around every pixel, zeros outside: shifted sums, five times faster on a CPU than a convolution."""
    radius = _WINDOW_PX // 2
    weights = [math.exp(-((k - radius) ** 2) / (2 * _SIGMA_PX**2)) for k in range(_WINDOW_PX)]
    weights = [w / sum(weights) for w in weights]
    for dim in (-2, -1):
        size = x.shape[dim]
        padded = F.pad(x, (0, 0, radius, radius) if dim == -2 else (radius, radius))
        out = weights[0] * padded.narrow(dim, 0, size)
        for k in range(1, _WINDOW_PX):
            out = out.add_(padded.narrow(dim, k, size), alpha=weights[k])
        x = out
    return x


def ssim_map(
    predicted: Float[Tensor, "*batch channels height width"],
    true: Float[Tensor, "*batch channels height width"],
) -> Float[Tensor, "*batch channels height width"]:
    """Structural similarity at every pixel: Gaussian window of 11 px and sigma 1.5, zeros outside the image.

    Differentiable; keeps the dtype of its input.

    Args:
        predicted: Images in [0, 1].
        true: Images in [0, 1].

    Raises:
        ValueError: shapes differ or values are not finite.
    """
    _check_images(predicted, true)
    channels, hw = true.shape[-3], true.shape[-2:]
    p, t = predicted.reshape(-1, channels, *hw), true.reshape(-1, channels, *hw)
    mean_p, mean_t = _window_mean(p), _window_mean(t)
    var_p, var_t = _window_mean(p * p) - mean_p**2, _window_mean(t * t) - mean_t**2
    cov = _window_mean(p * t) - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + _C1) / (mean_p**2 + mean_t**2 + _C1)
    structure = (2 * cov + _C2) / (var_p + var_t + _C2)
    return (luminance * structure).reshape(true.shape)


def image_metrics(
    predicted: Float[Tensor, "*batch channels height width"],
    true: Float[Tensor, "*batch channels height width"],
    *,
    mask: Shaped[Tensor, "*_ height width"] | None = None,
) -> dict[str, float]:
    """How far images are from the truth.

    Args:
        predicted: Images in [0, 1]; not clamped.
        true: Images in [0, 1].
        mask: Where to look (True or 1), for each image or one for all: the generated part, or the part outside holes.
            SSIM windows at the mask's border still see across it.

    Returns:
        ``psnr_db``: mean over images of the PSNR [dB], data range 1, each at most 100 dB. ``psnr_db_pooled``: PSNR
        of the mean squared error of all pixels. ``ssim_gauss11``: mean SSIM, Gaussian 11 px, sigma 1.5, zeros
        outside the image, as the 3DGS papers. ``ssim_gauss11_valid``: the same over pixels whose window lies inside
        the image, as scikit-image (nan if the mask holds none). ``mae``: mean absolute error. With a mask every key
        ends in ``_masked``.

    Raises:
        ValueError: shapes differ, values are not finite, images are under 11 px, or the mask is empty.
    """
    _check_images(predicted, true, mask)
    if min(true.shape[-2:]) < _WINDOW_PX:
        raise ValueError(f"images must have sides >= {_WINDOW_PX} px for SSIM, got {tuple(true.shape[-2:])}")
    square, count = _mse(predicted, true, mask)
    weight = _flat_mask(mask, true)
    similarity = ssim_map(_flat(predicted), _flat(true)).mean(1, keepdim=True)
    border = _WINDOW_PX // 2
    inner = torch.zeros_like(weight)
    inner[..., border:-border, border:-border] = weight[..., border:-border, border:-border]
    absolute = (weight * (_flat(predicted) - _flat(true)).abs()).sum(dim=(1, 2, 3)) / count
    values = {
        "psnr_db": _db(square / count).mean().item(),
        "psnr_db_pooled": _db(square.sum() / count.sum()).item(),
        "ssim_gauss11": _mean_inside(similarity, weight),
        "ssim_gauss11_valid": _mean_inside(similarity, inner),
        "mae": absolute.mean().item(),
    }
    return {f"{key}{'' if mask is None else '_masked'}": value for key, value in values.items()}


def _mean_inside(values: Tensor, weight: Tensor) -> float:
    """Mean over images of the mean inside the weight; images without any are left out, nan if all are."""
    total = weight.sum(dim=(1, 2, 3))
    held = total > 0
    if not held.any():
        return math.nan
    return ((values * weight).sum(dim=(1, 2, 3))[held] / total[held]).mean().item()
