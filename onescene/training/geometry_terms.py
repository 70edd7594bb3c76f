"""Loss terms on a panorama's geometry: edges in the right places, shapes within crops, normals of surfaces."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.equirect import directions_from_panorama
from onescene.metrics import latitude_weights

EDGE_RATIO = 1.08  # neighbours whose true distances differ by more are two surfaces


def masked_mean(x: Tensor, weight: Tensor) -> Tensor:
    """Mean by weights; 0 where they are all 0."""
    return (x * weight).sum() / weight.sum().clamp_min(1e-6)


def gradient_loss(error: Tensor, valid: Tensor, scales: int = 4) -> Tensor:
    """Mean |change of error| to the right neighbour (around the circle) and to the one below, over scales."""
    total = error.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        e, v = error[:, ::step, ::step], valid[:, ::step, ::step]
        right, right_valid = e.roll(-1, -1) - e, (v.roll(-1, -1) & v).to(e)
        down, down_valid = e[:, 1:] - e[:, :-1], (v[:, 1:] & v[:, :-1]).to(e)
        total = total + masked_mean(right.abs(), right_valid) + masked_mean(down.abs(), down_valid)
    return total / scales


def _tiles(x: Float[Tensor, "batch h w"], side: int) -> Float[Tensor, "n p"]:
    """Square pieces, one a row; what does not fill a piece is left out."""
    return F.unfold(x[:, None], side, stride=side).transpose(1, 2).flatten(0, 1)


def crop_loss(
    log_distance: Float[Tensor, "batch h w"],
    true_log_distance: Float[Tensor, "batch h w"],
    valid: Bool[Tensor, "batch h w"],
    rows: int = 4,
) -> Tensor:
    """Scale-and-shift-invariant loss of crops: MiDaS's error of the disparity, with each crop aligned on its own.

    Every crop's predicted disparity is brought to the true one by the scale and shift of least squares (in closed
    form, differentiable); what is left is relative to the crop's mean true disparity. The yaw of the augmentation
    moves the crops over the scene.

    Args:
        log_distance: Prediction.
        true_log_distance: Truth; anything where not ``valid``.
        valid: Where there is a truth.
        rows: Crops from zenith to nadir; twice as many around.

    Notes: the paper does not have this term; the release names it, its sizes are not public.
    """
    side = log_distance.shape[-2] // rows
    mask = _tiles(valid.to(log_distance), side)
    p = _tiles(torch.where(valid, -log_distance, torch.zeros_like(log_distance)).exp(), side)
    d = _tiles(torch.where(valid, -true_log_distance, torch.zeros_like(log_distance)).exp(), side)
    count = mask.sum(1, keepdim=True).clamp_min(1)
    mean_p, mean_d = (mask * p).sum(1, keepdim=True) / count, (mask * d).sum(1, keepdim=True) / count
    p, d = p / mean_p.clamp_min(1e-6) - 1, d / mean_d.clamp_min(1e-6) - 1
    scale = (mask * p * d).sum(1, keepdim=True) / ((mask * p * p).sum(1, keepdim=True) + 1e-4)
    return masked_mean((scale * p - d).abs(), mask)


def _normals(log_distance: Float[Tensor, "batch h w"]) -> Float[Tensor, "batch h1 w 3"]:
    """Unit normals between each pixel, its right neighbour (around the circle) and the one below."""
    hw = (log_distance.shape[-2], log_distance.shape[-1])
    rays = directions_from_panorama(hw, device=log_distance.device, dtype=log_distance.dtype)
    points = rays * log_distance.exp()[..., None]
    right, down = points.roll(-1, -2)[:, :-1] - points[:, :-1], points[:, 1:] - points[:, :-1]
    return F.normalize(torch.linalg.cross(right, down), dim=-1, eps=1e-9)


def normal_loss(
    log_distance: Float[Tensor, "batch h w"],
    true_log_distance: Float[Tensor, "batch h w"],
    valid: Bool[Tensor, "batch h w"],
) -> Tensor:
    """Edge-preserving normal loss: mean 1 - cosine between normals, by solid angle, not across true depth edges.

    Args:
        log_distance: Prediction; its scale does not matter.
        true_log_distance: Truth; anything where not ``valid``.
        valid: Where there is a truth.
    """
    true = torch.where(valid, true_log_distance, torch.zeros_like(true_log_distance))
    right, down = (true.roll(-1, -1) - true)[:, :-1], true[:, 1:] - true[:, :-1]
    same = torch.maximum(right.abs(), down.abs()) < math.log(EDGE_RATIO)
    known = valid[:, :-1] & valid.roll(-1, -1)[:, :-1] & valid[:, 1:]
    area = latitude_weights(true.shape[-2:], device=true.device, dtype=true.dtype)[:-1]
    cosine = (_normals(log_distance) * _normals(true)).sum(-1)
    return masked_mean(1 - cosine, (same & known).to(true) * area)
