"""Depth metrics: how a prediction is brought to the truth's scale, and how far it then is from it.

A depth number means nothing without its rule, so the rule is part of every key: ``abs_rel_median`` is not
``abs_rel_scale_shift``. The rules that papers on panoramas use stand in ``panorama_depth.py``. Whether the maps hold
``depth_z`` or ``distance`` is the caller's affair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Align = Literal["median", "scale_shift", "none"]
_ALIGNS = ("median", "scale_shift", "none")
_MIN_DEPTH = 1e-3  # [the maps' unit] the lower end of the range of DA-2's and of most monocular evaluations


@dataclass(frozen=True, kw_only=True)
class DepthRule:
    """One published way to score a depth map.

    Attributes:
        align: How the prediction is brought to the truth, image by image.
        min_depth: Valid truth is >= this; aligned predictions are raised to it [the maps' unit].
        raise_true: Whether smaller truth > 0 is raised to ``min_depth`` as well, instead of left out.
        max_depth: Valid truth is <= this [the maps' unit].
        clip_to_max: Whether aligned predictions are also lowered to ``max_depth``.
        pool: Whether the pixels of all images are pooled before the mean (else: mean over images of means).
    """

    align: Align = "median"
    min_depth: float = _MIN_DEPTH
    raise_true: bool = False
    max_depth: float = math.inf
    clip_to_max: bool = False
    pool: bool = False


def latitude_weights(
    hw: tuple[int, int], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "height width"]:
    """Solid angle of a panorama's pixels up to a factor: the cosine of the latitude of their centres."""
    height, width = hw
    rows = torch.arange(height, device=device, dtype=dtype)
    return ((0.5 - (rows + 0.5) / height) * math.pi).cos()[:, None].expand(height, width)


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Median of ``values``; numpy's (mean of the two middle ones) when all weights are equal."""
    values, order = values.sort()
    total = weights[order].cumsum(0)
    half, rounding = total[-1] / 2, total[-1] * len(values) * torch.finfo(total.dtype).eps
    low = int(torch.searchsorted(total, half - rounding))  # first with cumulative weight >= half
    tied = bool(total[low] <= half + rounding) and low + 1 < len(values)
    return (values[low] + values[low + 1]) / 2 if tied else values[low]


def _scale_and_shift(predicted: Tensor, true: Tensor, weights: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Closed form of min over (s, t) of sum w (s p + t - d)^2."""
    total = weights.sum()
    mean_p, mean_d = (weights * predicted).sum() / total, (weights * true).sum() / total
    centred = predicted - mean_p
    variance = (weights * centred * centred).sum() / total
    if variance <= 1e-12 * mean_p * mean_p:
        raise ValueError(f"predicted{name} must vary over the valid pixels to fit a scale and a shift, got a constant")
    scale = (weights * centred * (true - mean_d)).sum() / total / variance
    return scale, mean_d - scale * mean_p


def _aligned(predicted: Tensor, true: Tensor, weights: Tensor, align: str, name: str) -> Tensor:
    if align == "median":
        middle = _weighted_median(predicted, weights)
        if middle <= 0:
            raise ValueError(f"predicted{name} must have a median > 0 to be aligned by it, got {middle.item():g}")
        return predicted * (_weighted_median(true, weights) / middle)
    if align == "scale_shift":
        scale, shift = _scale_and_shift(predicted, true, weights, name)
        return scale * predicted + shift
    return predicted


def _sums(predicted: Tensor, true: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Weighted sums over pixels from which every metric follows."""
    error = predicted - true
    log_error = predicted.log() - true.log()
    ratio = torch.maximum(predicted / true, true / predicted)
    terms = {
        "abs_rel": error.abs() / true,
        "sq_rel": error * error / true,
        "mae": error.abs(),
        "square": error * error,
        "log": log_error,
        "log_square": log_error * log_error,
        **{f"delta{k}": (ratio < 1.25**k).to(error) for k in (1, 2, 3)},
    }
    sums = {key: (weights * term).sum() for key, term in terms.items()}
    return {**sums, "weight": weights.sum()}


def _metrics_of_sums(sums: dict[str, Tensor]) -> dict[str, float]:
    mean = {key: (value / sums["weight"]).item() for key, value in sums.items()}
    return {
        "abs_rel": mean["abs_rel"],
        "sq_rel": mean["sq_rel"],
        "mae": mean["mae"],
        "rmse": mean["square"] ** 0.5,
        "log_rmse": mean["log_square"] ** 0.5,
        "silog": max(mean["log_square"] - mean["log"] ** 2, 0.0) ** 0.5,
        "delta1": mean["delta1"],
        "delta2": mean["delta2"],
        "delta3": mean["delta3"],
    }


def _images(x: Tensor, like: Tensor) -> Tensor:
    return x.expand(like.shape).reshape(-1, *like.shape[-2:])


def check_maps(predicted: Tensor, true: Tensor, mask: Tensor | None) -> None:
    """Raises ValueError where the maps do not fit each other."""
    if predicted.shape != true.shape:
        raise ValueError(
            f"predicted and true must have one shape, got {tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    if true.ndim < 2 or true.numel() == 0:
        raise ValueError(f"true must have shape [H, W] or [*, H, W] with at least one pixel, got {tuple(true.shape)}")
    if mask is not None and tuple(mask.shape) not in (tuple(true.shape), tuple(true.shape[-2:])):
        raise ValueError(
            f"mask must have shape {tuple(true.shape)} or {tuple(true.shape[-2:])}, got {tuple(mask.shape)}"
        )


def valid_pixels(true: Tensor, rule: DepthRule, mask: Tensor | None) -> Tensor:
    """Which pixels a rule looks at."""
    valid = torch.isfinite(true) & (true > 0) & (true <= rule.max_depth)
    valid = valid if rule.raise_true else valid & (true >= rule.min_depth)
    return valid if mask is None else valid & mask.bool()


def sums_by_image(
    predicted: Tensor, true: Tensor, rule: DepthRule, mask: Tensor | None, weights: Tensor | None
) -> list[dict[str, Tensor]]:
    """What every metric follows from, image by image, after the alignment of the rule.

    Raises:
        ValueError: see :func:`depth_metrics`.
    """
    check_maps(predicted, true, mask)
    if rule.align not in _ALIGNS:
        raise ValueError(f"align must be one of {', '.join(_ALIGNS)}, got {rule.align!r}")
    if not 0 < rule.min_depth < rule.max_depth:
        raise ValueError(f"min_depth must be > 0 and < max_depth, got {rule.min_depth} and {rule.max_depth}")
    true = true.detach().double()
    valid = valid_pixels(true, rule, mask)
    true = true.clamp_min(rule.min_depth) if rule.raise_true else true
    weights = torch.ones_like(true) if weights is None else weights.to(true)
    parts = []
    stacked = (_images(x, true) for x in (predicted.detach().double(), true, valid, weights))
    for i, (p, d, v, w) in enumerate(zip(*stacked, strict=True)):
        name = f" (image {i})" if true.ndim > 2 else ""
        v = v & (w > 0)
        if not v.any():
            raise ValueError(f"true{name} must have at least one valid pixel in range and inside the mask, got none")
        p, d, w = p[v], d[v], w[v]
        if not torch.isfinite(p).all():
            raise ValueError(f"predicted{name} must be finite at every valid pixel, got nan or inf")
        high = rule.max_depth if rule.clip_to_max else math.inf
        parts.append(_sums(_aligned(p, d, w, rule.align, name).clamp(rule.min_depth, high), d, w))
    return parts


def metrics_of_parts(parts: list[dict[str, Tensor]], pool: bool) -> dict[str, float]:
    """Metrics of several images: of all their pixels in one pool, or the mean over images."""
    if pool:
        return _metrics_of_sums({key: sum(part[key] for part in parts) for key in parts[0]})
    each = [_metrics_of_sums(part) for part in parts]
    return {key: sum(m[key] for m in each) / len(each) for key in each[0]}


def pixel_weights(weights: Tensor | str | None, true: Tensor) -> tuple[Tensor | None, str]:
    """Weights of the pixels, and what the key of a metric says of them."""
    if weights is None:
        return None, ""
    if isinstance(weights, str):
        if weights != "latitude":
            raise ValueError(f"weights must be 'latitude', a tensor or None, got {weights!r}")
        return latitude_weights(tuple(true.shape[-2:]), device=true.device), "_latitude"
    if tuple(weights.shape) not in (tuple(true.shape), tuple(true.shape[-2:])):
        raise ValueError(
            f"weights must have shape {tuple(true.shape)} or {tuple(true.shape[-2:])}, got {tuple(weights.shape)}"
        )
    if not torch.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and >= 0")
    return weights, "_weighted"


def depth_metrics(
    predicted: Float[Tensor, "*batch height width"],
    true: Float[Tensor, "*batch height width"],
    align: str = "median",
    *,
    mask: Shaped[Tensor, "*_ height width"] | None = None,
    min_depth: float = _MIN_DEPTH,
    max_depth: float | None = None,
    weights: Shaped[Tensor, "*_ height width"] | str | None = None,
) -> dict[str, float]:
    """Depth errors of Table 3 of One2Scene (AbsRel, delta1 to delta3) and their usual companions.

    Each image is aligned on its own and the metrics are averaged over images.

    Args:
        predicted: Predicted depth or distance, finite where the truth is valid.
        true: True depth or distance; nan, inf, <= 0 and values outside [min_depth, max_depth] are left out.
        align: ``median``: times median(true) / median(predicted). ``scale_shift``: least-squares scale and shift.
            ``none``: as it is.
        mask: Where to look (True or 1), for each image or one for all.
        min_depth: Smallest valid truth; aligned predictions are raised to it [the maps' unit].
        max_depth: Largest valid truth [the maps' unit].
        weights: Pixel weights >= 0, or ``latitude`` for the pixels' share of the sphere; they also weigh the alignment.

    Returns:
        ``{metric}_{align}``, with ``_latitude`` or ``_weighted`` behind it where weights are given: ``abs_rel``,
        ``sq_rel``, ``mae``, ``rmse`` (in the maps' unit), ``log_rmse`` (natural logarithm), ``silog`` (standard
        deviation of the log error), ``delta1`` to ``delta3`` (shares in [0, 1] with ratio < 1.25, 1.25^2, 1.25^3).

    Raises:
        ValueError: shapes differ, an image has no valid pixel, a prediction is not finite or can not be aligned, or
            an argument is unknown.
    """
    check_maps(predicted, true, mask)
    rule = DepthRule(align=align, min_depth=min_depth, max_depth=math.inf if max_depth is None else max_depth)
    by_pixel, suffix = pixel_weights(weights, true)
    values = metrics_of_parts(sums_by_image(predicted, true, rule, mask, by_pixel), pool=False)
    return {f"{key}_{align}{suffix}": value for key, value in values.items()}
