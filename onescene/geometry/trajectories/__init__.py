"""Camera trajectories by name, through keyframes, and fitted into the free space of a scene."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.perspective import check_fov_deg, intrinsics_from_fov
from onescene.geometry.trajectories.clearance import fit_trajectory_scale, free_radius
from onescene.geometry.trajectories.keyframes import keyframe_trajectory
from onescene.geometry.trajectories.paths import look_around_poses, walk_poses
from onescene.geometry.trajectories.seva import (
    PAPER,
    RELEASE,
    SEVA_PRESETS,
    demo_poses,
    seva_fov_factor,
    seva_poses,
)
from onescene.types import Cameras

__all__ = [
    "TRAJECTORIES",
    "check_trajectory",
    "fit_trajectory_scale",
    "free_radius",
    "keyframe_trajectory",
    "make_trajectory",
]

_OWN = {"walk": walk_poses, "look-around": look_around_poses, "demo": demo_poses}
TRAJECTORIES: tuple[str, ...] = (*_OWN, *SEVA_PRESETS)


def check_trajectory(name: str) -> str:
    """Returns a trajectory's name as ``TRAJECTORIES`` spells it (``dolly-zoom-in`` and ``dolly zoom-in`` are one).

    Raises:
        ValueError: no trajectory has that name.
    """
    spelt = {known.replace(" ", "-"): known for known in TRAJECTORIES}
    known = spelt.get(str(name).replace(" ", "-"))
    if known is None:
        raise ValueError(f"trajectory must be one of {', '.join(TRAJECTORIES)}, got {name!r}")
    return known


def make_trajectory(
    name: str,
    frames: int,
    *,
    hw: tuple[int, int] = (512, 512),
    fov_deg: float = 54.0,
    scale_world: float = 1.0,
    convention: Literal["paper", "release"] = "paper",
    start: Float[Tensor, "4 4"] | None = None,
) -> Cameras:
    """Cameras of a trajectory that begins at the panorama's centre and looks forward.

    Args:
        name: One of ``TRAJECTORIES``: SEVA's presets, ``walk`` (forward and back, within a radius of 1),
            ``look-around`` (a turn in place), ``demo`` (the chain of One2Scene's release: orbit, move-left,
            lemniscate, move-forward, 160 frames there).
        frames: Number of cameras, >= 1.
        hw: Image size [pixels].
        fov_deg: Horizontal field of view of the first frame [degrees], inside (10, 170); zooms change it.
        scale_world: Factor on all positions [world units]. At 1 SEVA's presets look at a point 10 ahead.
        convention: Constants of the presets: ``paper`` are SEVA's own, ``release`` those of One2Scene's public
            demo (a point 1 ahead, smaller ways). ``demo`` always takes the latter.
        start: ``world_from_cam`` of the pose to begin from; the identity if not given.

    Raises:
        ValueError: an unknown name or convention, or a number out of range.
    """
    name = check_trajectory(name)
    if convention not in ("paper", "release"):
        raise ValueError(f"convention must be 'paper' or 'release', got {convention!r}")
    if isinstance(frames, bool) or not 1 <= frames < math.inf or int(frames) != frames:
        raise ValueError(f"frames must be a whole number >= 1, got {frames}")
    if not 0 < scale_world < math.inf:
        raise ValueError(f"scale_world must be > 0 and finite, got {scale_world}")
    check_fov_deg(fov_deg)
    frames, constants = int(frames), PAPER if convention == "paper" else RELEASE
    poses = _OWN[name](frames) if name in _OWN else seva_poses(name, frames, constants)
    poses[:, :3, 3] *= scale_world
    fov = fov_deg * seva_fov_factor(name, frames, constants)
    if float(fov.max()) >= 170:
        widest = 170 * fov_deg / float(fov.max())
        raise ValueError(f"fov_deg must be below {widest:.4g} degrees for trajectory {name!r}, got {fov_deg}")
    if start is None:
        start = torch.eye(4)
    return Cameras(
        world_from_cam=start @ poses.to(start), K=intrinsics_from_fov(fov, hw).to(start), hw=(int(hw[0]), int(hw[1]))
    )
