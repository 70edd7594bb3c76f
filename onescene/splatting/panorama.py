"""A panorama of Gaussians: six overlapping faces rendered and resampled onto the sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.cubemap import distance_from_depth_z, face_cameras, panorama_from_faces
from onescene.geometry.equirect import check_panorama_hw
from onescene.splatting.render import Backend, render
from onescene.types import Cameras, Gaussians

FACE_FOV_DEG = 95.0  # 90 would tile the sphere; the overlap lets neighbouring faces fade into each other


@dataclass(frozen=True, kw_only=True)
class PanoramaRender:
    """What is seen from one point in all directions, over black.

    Attributes:
        rgb: Colour, >= 0 (not clamped above).
        distance: Alpha-weighted sum of the distances along the rays (not divided by alpha) [world units].
        alpha: Accumulated opacity in [0, 1].
    """

    rgb: Float[Tensor, "3 h w"]
    distance: Float[Tensor, "h w"]
    alpha: Float[Tensor, "h w"]


def render_panorama(
    gaussians: Gaussians,
    hw: tuple[int, int],
    backend: Backend = "auto",
    *,
    centre: Float[Tensor, "xyz=3"] | None = None,
    face_px: int | None = None,
    near: float = 0.01,
) -> PanoramaRender:
    """Renders a panorama, differentiable as :func:`render` is.

    Args:
        gaussians: The scene.
        hw: Size of the panorama [pixels], width twice the height.
        backend: As in :func:`render`.
        centre: Where to stand [world units]; the world's origin by default.
        face_px: Side of a face [pixels]; by default as fine in a face's middle as the panorama at its equator.
        near: As in :func:`render`, along each face's axis [world units].

    Raises:
        ValueError: the size is not 2:1, or as in :func:`render`.
    """
    height, width = check_panorama_hw(hw)
    half = math.tan(math.radians(FACE_FOV_DEG) / 2)
    face_px = math.ceil(width / math.pi * half) if face_px is None else face_px
    cameras = face_cameras(face_px, FACE_FOV_DEG, device=gaussians.means.device, dtype=gaussians.means.dtype)
    if centre is not None:
        world_from_cam = cameras.world_from_cam.clone()
        world_from_cam[:, :3, 3] = centre.to(world_from_cam)
        cameras = Cameras(world_from_cam=world_from_cam, K=cameras.K, hw=cameras.hw)
    faces = render(gaussians, cameras, backend, near=near)
    distance = distance_from_depth_z(faces.depth_z, FACE_FOV_DEG)
    stacked = torch.cat((faces.rgb, distance[:, None], faces.alpha[:, None]), dim=1)
    panorama = panorama_from_faces(stacked, (height, width), FACE_FOV_DEG)
    return PanoramaRender(rgb=panorama[:3], distance=panorama[3], alpha=panorama[4])
