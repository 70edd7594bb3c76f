"""Cameras that somebody brings: what is odd about them is said in a sentence, and the views are made all the same."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from onescene.geometry.rotations import invert_rigid
from onescene.geometry.trajectories.free_space import is_free
from onescene.types import Cameras

_MOSTLY = 0.7  # mean cosine beyond which all cameras count as turned one way
_SHARE = 0.5  # of cameras outside beyond which the matrices themselves are in question
_OPENGL = torch.tensor([1.0, -1.0, -1.0])  # OpenCV's camera axes <-> OpenGL's


def odd_about_cameras(cameras: Cameras, distance: Tensor | None, path: str | Path) -> list[str]:
    """What is odd about the cameras of a file: sentences, none where nothing is.

    Looked for are a file of another convention (cameras upside down or on their side, matrices from world to camera)
    and cameras that the panorama's centre does not see: outside the scene, inside a wall, or behind a thing.

    Args:
        cameras: As they were read.
        distance: The scene's distance panorama [world units]; None = places are not looked at.
        path: The file.
    """
    name = Path(path).name
    poses, opengl = cameras.world_from_cam, name.endswith(".json")
    guess = _other_axes(poses, opengl) or _inverted(poses, distance, opengl)
    said = [f"{name} {guess}; views are made of it as it is"] if guess else []
    if distance is not None:
        hidden = torch.nonzero(~is_free(poses[:, :3, 3], distance)).flatten().tolist()
        if hidden:
            which = f"{len(hidden)} of {len(cameras)} cameras (first: number {hidden[0]})"
            said.append(f"{name}: {which} stand outside the scene, in a wall or behind a thing: little is known there")
    return said


def _other_axes(world_from_cam: Tensor, opengl: bool) -> str:
    """What a file looks like whose cameras do not stand upright; ``opengl`` = its camera axes should be OpenGL's."""
    down = world_from_cam[:, :3, 1].mean(dim=0)  # where the cameras' lower border points; (0, 1, 0) if upright
    if float(down[1]) < -_MOSTLY:
        axes = ["OpenCV axes (y down, z forward)", "OpenGL's (y up, z backward)"]
        if not opengl:
            axes = ["OpenGL axes (y up, z backward)", "OpenCV's (y down, z forward)"]
        looks = f"it looks like {axes[0]} where such files have {axes[1]}, or like a world with y up"
        return f"has its cameras upside down: {looks}"
    if abs(float(down[2])) > _MOSTLY:
        return "has its cameras on their side: it looks like a world with z up (Blender, nerfstudio), not y down"
    return ""


def _inverted(world_from_cam: Tensor, distance: Tensor | None, opengl: bool) -> str:
    """What a file looks like whose cameras are outside, and would all be inside if each matrix were inverted."""
    if distance is None:
        return ""
    outside = float((~is_free(world_from_cam[:, :3, 3], distance)).float().mean())
    centres = invert_rigid(world_from_cam)[:, :3, 3] * (
        _OPENGL if opengl else 1.0
    )  # the axes were turned as it was read
    if outside > _SHARE and bool(is_free(centres, distance).all()):
        return "looks like matrices from world to camera, where such files have matrices from camera to world"
    return ""
