"""New Gaussians where the views show something that no Gaussian covers yet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.geometry.perspective import unproject
from onescene.geometry.windows import greatest_around
from onescene.splatting import Backend, render
from onescene.types import SH_C0, Cameras, Gaussians


@dataclass(frozen=True)
class HolesConfig:
    """How holes are filled."""

    alpha_threshold: float = 0.5  # a pixel covered less than this is a hole
    grow_px: int = 1  # holes grow by this much [pixels], so that no dark rim is left
    solid_alpha: float = 0.95  # where they do not grow into
    size_px: float = 0.5  # standard deviation of a new Gaussian in the view that asks for it [pixels]
    opacity: float = 0.95
    backend: Backend = "auto"  # of render


def hole_mask(alpha: Float[Tensor, "h w"], config: HolesConfig = HolesConfig()) -> Bool[Tensor, "h w"]:
    """Pixels to lift: those hardly covered, and a rim of half covered ones around them."""
    hole = alpha < config.alpha_threshold
    if config.grow_px > 0:
        around = F.pad(hole.to(alpha), (config.grow_px,) * 4)
        grown = greatest_around(around, config.grow_px) > 0
        hole = hole | (grown & (alpha < config.solid_alpha))
    return hole


def lift_pixels(
    rgb: Float[Tensor, "3 h w"],
    depth_z: Float[Tensor, "h w"],
    mask: Bool[Tensor, "h w"],
    camera: Cameras,
    config: HolesConfig = HolesConfig(),
) -> Gaussians:
    """One round Gaussian of degree 0 per pixel of the mask, as large as the pixel at its depth.

    Args:
        rgb: Colours in [0, 1].
        depth_z: Along the camera's axis [world units].
        mask: Which pixels.
        camera: Exactly one camera.
        config: Size and opacity.
    """
    depth = depth_z[mask]
    scale = config.size_px * depth / camera.K[0].diagonal()[:2].min()
    identity = torch.tensor([1.0, 0, 0, 0]).to(depth)
    return Gaussians(
        means=unproject(depth_z[None], camera)[0][mask],
        quats=identity.expand(len(depth), 4).clone(),
        scales=scale[:, None].expand(-1, 3).clone(),
        opacities=torch.full_like(depth, config.opacity),
        sh=((rgb[:, mask].T - 0.5) / SH_C0)[:, None],
    )


@torch.no_grad()
def add_hole_gaussians(
    gaussians: Gaussians,
    views_rgb: Float[Tensor, "v 3 h w"],
    rendered_alpha: Float[Tensor, "v h w"],
    depth_z_filled: Float[Tensor, "v h w"],
    cameras: Cameras,
    config: HolesConfig = HolesConfig(),
) -> Gaussians:
    """Lifts what the views show in the holes of the scene, view by view, each place once.

    Args:
        gaussians: The scene with holes.
        views_rgb: Complete views in [0, 1].
        rendered_alpha: How far ``gaussians`` cover them, in [0, 1].
        depth_z_filled: Depth of every pixel, holes included [world units], > 0 in the holes.
        cameras: Of the views.
        config: What a hole is and what fills it.

    Returns:
        The given Gaussians, in their order, and the new ones behind them.

    Raises:
        ValueError: shapes do not match, or the depth of a hole is not finite and positive.

    Notes: light passes Gaussians one after the other, so the alphas of the scene and of what earlier views added
    combine as 1 - (1 - a)(1 - b) without rendering the scene again.
    """
    wanted = {"views_rgb": (len(cameras), 3, *cameras.hw)}
    wanted |= {name: (len(cameras), *cameras.hw) for name in ("rendered_alpha", "depth_z_filled")}
    given = {"views_rgb": views_rgb, "rendered_alpha": rendered_alpha, "depth_z_filled": depth_z_filled}
    for name, shape in wanted.items():
        if tuple(given[name].shape) != shape:
            raise ValueError(f"{name} must have shape {shape} to match cameras, got {tuple(given[name].shape)}")
    added: list[Gaussians] = []
    for i in range(len(cameras)):
        camera, alpha = cameras[i], rendered_alpha[i]
        if added:
            covered = render(Gaussians.cat(added), camera, config.backend).alpha[0]
            alpha = 1 - (1 - alpha) * (1 - covered)
        mask = hole_mask(alpha, config)
        depth = depth_z_filled[i]
        if not (torch.isfinite(depth[mask]) & (depth[mask] > 0)).all():
            raise ValueError(f"depth_z_filled must be finite and > 0 in the holes, got other values in view {i}")
        added.append(lift_pixels(views_rgb[i], depth, mask, camera, config))
    return Gaussians.cat([gaussians, *added])
