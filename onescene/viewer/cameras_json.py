"""Cameras to and from the JSON that the viewer speaks: nerfstudio's ``transforms.json`` as a dict.

Files are read and written by ``io.cameras``; this is the same convention in memory.
"""

from __future__ import annotations

import torch

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
        ValueError: a key is missing.
    """
    if not isinstance(camera, dict) or not camera.get("frames"):
        raise ValueError(f"camera must be a transforms.json dict with a list of frames, got {camera!r:.80}")
    matrices, intrinsics = [], []
    for frame in camera["frames"]:
        merged = {**camera, **frame}
        missing = [key for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "transform_matrix") if key not in merged]
        if missing:
            raise ValueError(f"camera must hold {', '.join(missing)}, got {', '.join(sorted(merged))}")
        matrices.append(merged["transform_matrix"])
        fx, fy, cx, cy = (merged[key] for key in ("fl_x", "fl_y", "cx", "cy"))
        intrinsics.append([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    world_from_cam = torch.tensor(matrices, dtype=torch.float64) * OPENGL_FROM_OPENCV
    return Cameras(
        world_from_cam=world_from_cam.float(),
        K=torch.tensor(intrinsics, dtype=torch.float32),
        hw=(round(camera["h"]), round(camera["w"])),
    )
