"""What Gaussians show from a camera, made whole: holes continued from the farther side of their rim."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from onescene.splatting import Backend, RenderOutput, render
from onescene.stages.inpaint import inpaint
from onescene.types import Cameras, Gaussians

ALPHA_THRESHOLD = 0.5  # a pixel covered less than this is a hole


def seen_whole(
    gaussians: Gaussians, camera: Cameras, backend: Backend = "auto", alpha_threshold: float = ALPHA_THRESHOLD
) -> tuple[RenderOutput, Float[Tensor, "3 h w"], Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """What one camera sees: as it is rendered, and its colour, depth and holes once it is whole (:func:`fill_view`)."""
    out = render(gaussians, camera, backend)
    away = (gaussians.means - camera.world_from_cam[0, :3, 3]).norm(dim=-1).median()
    return out, *fill_view(out.rgb[0], out.alpha[0], out.depth_z[0], alpha_threshold, max(float(away), 1e-6))


def fill_view(
    rendered: Float[Tensor, "3 h w"],
    alpha: Float[Tensor, "h w"],
    depth_z: Float[Tensor, "h w"],
    alpha_threshold: float,
    fallback_depth: float = 1.0,
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Makes one rendered view whole.

    Args:
        rendered: Colour over black.
        alpha: Coverage in [0, 1].
        depth_z: The alpha-weighted sum of depths, as the renderer gives it [world units].
        alpha_threshold: A pixel covered less than this is a hole.
        fallback_depth: Depth where no pixel around is known [world units].

    Returns:
        Colour in [0, 1], depth at every pixel [world units], the holes.
    """
    known = (alpha >= alpha_threshold) & (depth_z > 0)
    safe = torch.where(known, alpha, torch.ones_like(alpha))
    colour, depth = (rendered / safe).clamp(0, 1), depth_z / safe
    arrays = [t.detach().float().cpu().numpy() for t in (colour.permute(1, 2, 0), depth)]
    filled_rgb, filled_depth = inpaint(*arrays, known.cpu().numpy(), fallback_depth)
    fill = torch.from_numpy(filled_rgb).to(rendered).permute(2, 0, 1)
    # what little the Gaussians show in a hole stands in front of the fill
    behind = rendered + (1 - alpha) * fill
    rgb = torch.where(known, colour, behind.clamp(0, 1))
    return rgb, torch.from_numpy(filled_depth).to(depth_z), ~known
