"""Rendering loss of Sec. 3.2: Gaussians splatted at the centre (the faces) and from beside it, against true views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import face_cameras, faces_from_panorama
from onescene.splatting import render
from onescene.training.batches import Sample
from onescene.types import Cameras, Gaussians


@dataclass(frozen=True)
class View:
    """True views of one scene with their cameras."""

    rgb: Float[Tensor, "v 3 h w"]
    cameras: Cameras


def true_views(sample: Sample, face_px: int, fov_deg: float, device: torch.device) -> list[View]:
    """The six faces, and the displaced views where there are some (not larger than the faces)."""
    faces = faces_from_panorama(sample.rgb, face_px, fov_deg)
    out = [View(faces.to(device), face_cameras(face_px, fov_deg).to(device))]
    if sample.views is not None:
        rgb, cameras = sample.views, sample.cameras
        if cameras.hw[0] > face_px:
            hw = (face_px, round(face_px * cameras.hw[1] / cameras.hw[0]))
            rgb, cameras = F.interpolate(rgb, hw, mode="area"), cameras.resized(hw)
        out.append(View(rgb.to(device), cameras.to(device)))
    return out


def render_terms(
    gaussians: Gaussians,
    views: Sequence[View],
    distance: Callable[[Tensor, Tensor], Tensor] | None,
    holes_are_errors: bool,
) -> dict[str, Tensor]:
    """MSE and perceptual distance of rendered views, the mean over all images.

    Args:
        gaussians: Of one scene; differentiable.
        views: What should be seen.
        distance: A perceptual distance (see ``perceptual.py``); None leaves its term out.
        holes_are_errors: Whether black where nothing stands is an error, as for a network that may move its Gaussians
            and choose their opacity. Else the truth shows through holes: one Gaussian per pixel can not close them,
            and should not be drawn into them.
    """
    total, images = {}, sum(len(view.rgb) for view in views)
    for view in views:
        seen = render(gaussians, view.cameras)
        rgb = seen.rgb if holes_are_errors else seen.rgb + (1 - seen.alpha.detach())[:, None] * view.rgb
        terms = {"render": (rgb - view.rgb).square().mean((1, 2, 3))}
        if distance is not None:
            terms["perceptual"] = distance(rgb.clamp(0, 1), view.rgb)
        for name, values in terms.items():
            total[name] = total.get(name, 0.0) + values.sum() / images
    return total
