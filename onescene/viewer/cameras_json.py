"""Cameras to and from the JSON that the viewer speaks: nerfstudio's ``transforms.json`` as a dict.

Files are read and written by ``io.cameras``; this is the same convention in memory.
"""

from __future__ import annotations

import torch

from onescene.io.transforms_json import cameras_from_transforms
from onescene.types import Cameras

OPENGL_FROM_OPENCV = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)  # the camera's y and z are negated


def json_from_cameras(cameras: Cameras) -> dict:
    """A nerfstudio ``transforms.json`` as a dict; intrinsics stand with each frame where they differ."""
    height, width = cameras.hw
    matrices = (cameras.world_from_cam.detach().cpu().double() * OPENGL_FROM_OPENCV).tolist()
    K = cameras.K.detach().cpu().double()
    intrinsics = [{"fl_x": k[0][0], "fl_y": k[1][1], "cx": k[0][2], "cy": k[1][2]} for k in K.tolist()]
    shared = all(one == intrinsics[0] for one in intrinsics)
    frames = [{"transform_matrix": [[round(v, 7) for v in row] for row in matrix]} for matrix in matrices]
    if not shared:
        frames = [{**one, **frame} for one, frame in zip(intrinsics, frames, strict=True)]
    head = intrinsics[0] if shared and intrinsics else {}
    return {"camera_model": "OPENCV", **head, "w": int(width), "h": int(height), "frames": frames}


def cameras_from_json(camera: dict) -> Cameras:
    """Cameras of a ``transforms.json`` dict.

    Args:
        camera: What the viewer's copy button gives, or ``SceneWidget.camera``.

    Raises:
        ValueError: as :func:`onescene.io.cameras.load_cameras`: no frames, a missing key, a value that can not be.
    """
    return cameras_from_transforms(camera, "camera").cameras
