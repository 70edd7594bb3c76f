"""Views to fit to out of panoramas with known cameras: keyframes and perspective crops, as Matrix-3D cuts them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov
from onescene.geometry.rotations import look_at
from onescene.types import Cameras

KEYFRAME_EVERY = 5  # Matrix-3D, optimisation route: one panoramic frame in five
CROP_FOV_DEG = 90.0


def keyframes(count: int, every: int = KEYFRAME_EVERY) -> list[int]:
    """Which of ``count`` frames of a panoramic film are fitted to: the first, and every fifth from there (Matrix-3D).

    Raises:
        ValueError: ``count`` or ``every`` < 1.
    """
    if count < 1 or every < 1:
        raise ValueError(f"count and every must be >= 1, got {count} and {every}")
    return list(range(0, count, every))


def crop_directions() -> Float[Tensor, "12 3"]:
    """Unit vectors to the corners of an icosahedron that stands on a corner: straight up and down, and two rings."""
    ring_y, ring_radius = 1 / math.sqrt(5), 2 / math.sqrt(5)
    rows = [(0.0, -1.0, 0.0)]
    for y, turn in ((-ring_y, 0.0), (ring_y, 0.5)):
        angles = [2 * math.pi * (k + turn) / 5 for k in range(5)]
        rows += [(ring_radius * math.sin(a), y, ring_radius * math.cos(a)) for a in angles]
    return torch.tensor([*rows, (0.0, 1.0, 0.0)])


def panorama_crops(
    panoramas: Float[Tensor, "k 3 height width"],
    world_from_panorama: Float[Tensor, "k 4 4"],
    crop_px: int = 512,
    fov_deg: float = CROP_FOV_DEG,
) -> tuple[Float[Tensor, "v 3 crop crop"], Cameras]:
    """Cuts every panorama into 12 perspective views that cover the sphere, panorama by panorama (Matrix-3D).

    Args:
        panoramas: Keyframes, RGB in [0, 1].
        world_from_panorama: Where each stands and looks.
        crop_px: Side of a view [pixels].
        fov_deg: Its field of view [degrees].

    Raises:
        ValueError: shapes do not match, a panorama is not 2:1, or the field of view is out of range.

    Notes: the paper names the number, not the directions: the corners of an icosahedron, whose farthest gap is 37.4
    degrees from the nearest corner, so that views from 75 degrees on leave nothing out. Super-resolution, which the
    paper applies to the crops, is not part of this.
    """
    if tuple(world_from_panorama.shape) != (len(panoramas), 4, 4):
        shape = tuple(world_from_panorama.shape)
        raise ValueError(f"world_from_panorama must have shape {(len(panoramas), 4, 4)} as panoramas, got {shape}")
    directions = crop_directions().to(panoramas)
    local = look_at(torch.zeros_like(directions), directions)
    K = intrinsics_from_fov(fov_deg, (crop_px, crop_px)).to(panoramas).expand(12, 3, 3)
    at_centre = Cameras(world_from_cam=local, K=K, hw=(crop_px, crop_px))
    views = crop_panorama(panoramas, at_centre, antialias=True)
    world_from_cam = (world_from_panorama[:, None] @ local).reshape(-1, 4, 4)
    cameras = Cameras(world_from_cam=world_from_cam, K=K.repeat(len(panoramas), 1, 1), hw=at_centre.hw)
    return views.reshape(-1, 3, crop_px, crop_px), cameras
