"""The one public ``render``: checks its input, picks a backend and returns colour, depth and alpha.

The mathematics lives in ``projection`` and ``reference`` (readable torch) and in ``numba_*`` (fast, CPU).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.splatting.gsplat_backend import gsplat_works, render_gsplat
from onescene.splatting.numba_backend import render_numba
from onescene.splatting.reference import render_reference
from onescene.types import Cameras, Gaussians

logger = logging.getLogger(__name__)

Backend = Literal["auto", "torch", "numba", "gsplat"]
BACKENDS = ("auto", "torch", "numba", "gsplat")


@dataclass(frozen=True, kw_only=True)
class RenderOutput:
    """What the cameras see, over black or the given background.

    Attributes:
        rgb: Colour, >= 0 (not clamped above).
        depth_z: Alpha-weighted sum of the Gaussians' depths (not divided by alpha) [world units].
        alpha: Accumulated opacity in [0, 1].
    """

    rgb: Float[Tensor, "v 3 h w"]
    depth_z: Float[Tensor, "v h w"]
    alpha: Float[Tensor, "v h w"]


def _check_range(near: float, far: float) -> None:
    if not (math.isfinite(near) and near > 0):
        raise ValueError(f"near must be a finite number > 0, got {near}")
    if not far > near:
        raise ValueError(f"far must be > near = {near}, got {far}")


def _check_tensors(gaussians: Gaussians, cameras: Cameras) -> None:
    """Refuses mixed devices or dtypes, NaN and inf."""
    like = gaussians.means
    for owner in (gaussians, cameras):
        for field in fields(owner):
            tensor = getattr(owner, field.name)
            if not isinstance(tensor, Tensor):
                continue
            if tensor.dtype not in (torch.float32, torch.float64) or tensor.dtype != like.dtype:
                raise ValueError(f"{field.name} must be float32 or float64 as means ({like.dtype}), got {tensor.dtype}")
            if tensor.device != like.device:
                raise ValueError(f"{field.name} must be on {like.device} as means, got {tensor.device}")
            # A sum is finite unless an entry is not (or it overflows, which the slow check tells apart).
            if not torch.isfinite(tensor.detach().sum()) and not torch.isfinite(tensor).all():
                bad = int((~torch.isfinite(tensor)).sum())
                raise ValueError(f"{field.name} must be finite, got NaN or inf in {bad} of {tensor.numel()} entries")
    if len(cameras) and not (cameras.K.diagonal(dim1=1, dim2=2)[:, :2] > 0).all():
        raise ValueError("K must have focal lengths > 0")


def _check_background(background: Tensor, views: int, like: Tensor) -> None:
    if tuple(background.shape) not in ((3,), (views, 3)):
        raise ValueError(f"background must have shape (3,) or ({views}, 3), got {tuple(background.shape)}")
    if background.dtype != like.dtype or background.device != like.device:
        raise ValueError(
            f"background must be {like.dtype} on {like.device} as means, got {background.dtype} on {background.device}"
        )
    if not torch.isfinite(background).all():
        raise ValueError("background must be finite, got NaN or inf")


def _over(rgb: Float[Tensor, "v 3 h w"], alpha: Float[Tensor, "v h w"], background: Tensor) -> Float[Tensor, "v 3 h w"]:
    """What is left of the light falls on the background."""
    return rgb + (1 - alpha)[:, None] * background[..., None, None]


@lru_cache(maxsize=64)
def _log_choice(asked: str, chosen: str, reason: str) -> None:
    """Says once which backend serves which kind of call."""
    logger.info("render(backend=%r) uses %s: %s", asked, chosen, reason)


def choose_backend(gaussians: Gaussians, cameras: Cameras, backend: str) -> Literal["torch", "numba", "gsplat"]:
    """Which backend serves this call; the choice is logged.

    Raises:
        ValueError: the backend is unknown or cannot take these tensors.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    means = gaussians.means
    camera_grad = cameras.world_from_cam.requires_grad or cameras.K.requires_grad
    if backend == "auto":
        if camera_grad or means.dtype != torch.float32:
            chosen, reason = "torch", "gradients to cameras" if camera_grad else "float64"
        elif means.is_cuda:
            chosen, reason = ("gsplat", "CUDA") if gsplat_works() else ("torch", "CUDA without gsplat's kernels")
        elif means.device.type == "cpu":
            chosen, reason = "numba", "float32 on the CPU"
        else:
            chosen, reason = "torch", f"device {means.device.type}"
        _log_choice(backend, chosen, reason)
        return chosen
    wanted = {"numba": "cpu", "gsplat": "cuda"}.get(backend)
    if wanted is not None:
        if means.device.type != wanted or means.dtype != torch.float32:
            raise ValueError(
                f"backend {backend!r} needs float32 tensors on {wanted}, got {means.dtype} on {means.device}"
            )
        if camera_grad:
            raise ValueError(f"backend {backend!r} has no gradients to cameras; use backend='torch'")
    _log_choice(backend, backend, "as asked")
    return backend


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    backend: Backend = "auto",
    *,
    near: float = 0.01,
    far: float = math.inf,
    background: Float[Tensor, "*views 3"] | None = None,
) -> RenderOutput:
    """Renders Gaussians into cameras, differentiable in every Gaussian parameter (3DGS, EWA splatting).

    Args:
        gaussians: The scene; quaternions of any length.
        cameras: Pinhole cameras without skew, one or many.
        backend: ``torch`` (readable reference, any device, float64 too, gradients to cameras), ``numba`` (fast, CPU,
            float32), ``gsplat`` (CUDA, float32) or ``auto``.
        near: Centres closer than this are not drawn [world units along z].
        far: Centres farther than this are not drawn [world units along z].
        background: Colour behind everything, one for all cameras or one each; differentiable; black by default.

    Returns:
        Colour, alpha-weighted depth and alpha.

    Raises:
        ValueError: unknown backend, tensors of different kinds or shapes, NaN or inf, near or far out of range.

    Notes: gsplat's conventions: 0.3 px^2 blur, alpha clamped at 0.999, contributions under 1/255 skipped, a pixel is
    finished before its transmittance reaches 1e-4, Gaussians sorted by the depth of their centre.
    """
    _check_range(near, far)
    chosen = choose_backend(gaussians, cameras, backend)
    _check_tensors(gaussians, cameras)
    if background is not None:
        _check_background(background, len(cameras), gaussians.means)
    if chosen == "torch":
        rgb, depth_z, alpha = render_reference(gaussians, cameras, near, far)
    elif chosen == "numba":
        rgb, depth_z, alpha = render_numba(gaussians, cameras, near, far)
    else:
        rgb, depth_z, alpha = render_gsplat(gaussians, cameras, near, far)
    if background is not None:
        rgb = _over(rgb, alpha, background)
    return RenderOutput(rgb=rgb, depth_z=depth_z, alpha=alpha)
