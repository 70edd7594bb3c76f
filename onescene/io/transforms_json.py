"""Cameras as nerfstudio's ``transforms.json``.

Its matrices are camera-to-world with OpenGL's camera axes (y up, z backward); the world's axes stay ours. Intrinsics
stand once for all frames or in each frame: ``fl_x fl_y cx cy w h`` in pixels, or ``camera_angle_x`` in radians.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from onescene.geometry.rotations import invert_rigid
from onescene.io.atomic import atomic_write_json
from onescene.io.camera_checks import (
    OPENGL_FROM_OPENCV,
    CameraFile,
    Pinhole,
    checked_cameras,
    matrices_and_pinholes,
)
from onescene.io.sources import existing_file
from onescene.types import Cameras

_MAX_BYTES = 64 << 20  # a frame takes under 1 kB, and several times as much once it is read
_PINHOLE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")  # without distortion, all are
_DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")


def write_transforms(cameras: Cameras, path: str | os.PathLike, file_paths: Sequence[str] | None = None) -> Path:
    """Writes a ``transforms.json``; returns the path.

    Args:
        cameras: Pinholes without skew.
        path: The file.
        file_paths: The image of each camera as seen from the file's folder, or None to name none.

    Raises:
        ValueError: not as many paths as cameras, or cameras that :func:`matrices_and_pinholes` refuses.
    """
    world_from_cam, pinholes = matrices_and_pinholes(cameras)
    if file_paths is not None and len(file_paths) != len(cameras):
        raise ValueError(f"file_paths must name {len(cameras)} images, got {len(file_paths)}")
    shared = len(set(pinholes)) == 1
    frames: list[dict[str, Any]] = []
    for i, (matrix, pinhole) in enumerate(zip(world_from_cam @ OPENGL_FROM_OPENCV, pinholes, strict=True)):
        frame: dict[str, Any] = {"file_path": str(file_paths[i])} if file_paths is not None else {}
        if not shared:
            frame |= _intrinsics(pinhole)
        frames.append(frame | {"transform_matrix": matrix.tolist()})
    content: dict[str, Any] = {"camera_model": "OPENCV", "w": cameras.hw[1], "h": cameras.hw[0]}
    if shared:
        content |= _intrinsics(pinholes[0])
    return atomic_write_json(path, content | {"frames": frames})


def read_transforms(
    path: str | os.PathLike, *, hw: tuple[int, int] | None = None, undo_applied_transform: bool = False
) -> CameraFile:
    """Reads a ``transforms.json``.

    Args:
        path: The file.
        hw: Image height and width [px], for a file that names none.
        undo_applied_transform: Whether to take back ``applied_transform``, by which nerfstudio moved the world.

    Raises:
        ValueError: broken JSON, missing keys, lens distortion, frames of different size, no size at all, or cameras
            that :func:`checked_cameras` refuses.
    """
    found = existing_file(path, "camera file")
    return cameras_from_transforms(read_json_object(found), found, hw=hw, undo_applied_transform=undo_applied_transform)


def cameras_from_transforms(
    content: dict[str, Any],
    found: str | os.PathLike,
    *,
    hw: tuple[int, int] | None = None,
    undo_applied_transform: bool = False,
) -> CameraFile:
    """The cameras of a ``transforms.json`` that was read from ``found``; see :func:`read_transforms`."""
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames) or not frames:
        raise ValueError(f"{found} must hold a list `frames` with at least one camera")
    matrices, pinholes, sizes, names = [], [], [], []
    for i, frame in enumerate(frames):
        subject = f"{found}: frame {i}"
        values = content | frame
        _refuse_distortion(values, subject)
        size = _size(values, hw, subject)
        sizes.append(size)
        if size != sizes[0]:
            was = f"{sizes[0][1]} x {sizes[0][0]}"
            raise ValueError(f"{subject} is {size[1]} x {size[0]}, frame 0 is {was}: all images must have one size")
        pinholes.append(_pinhole(values, size, subject))
        matrices.append(_matrix(frame.get("transform_matrix"), f"{subject}: transform_matrix"))
        name = frame.get("file_path")
        names.append(name if isinstance(name, str) else None)
    world_from_cam = torch.tensor(matrices, dtype=torch.float64) @ OPENGL_FROM_OPENCV
    if undo_applied_transform and "applied_transform" in content:
        applied = _matrix(content["applied_transform"], f"{found}: applied_transform")
        moved = torch.tensor([applied], dtype=torch.float64)
        checked_cameras(moved, pinholes[:1], sizes[0], f"{found}: applied_transform")
        world_from_cam = invert_rigid(moved) @ world_from_cam
    return CameraFile(cameras=checked_cameras(world_from_cam, pinholes, sizes[0], found), names=tuple(names))


def _intrinsics(pinhole: Pinhole) -> dict[str, float]:
    """The file's keys of a pinhole."""
    return dict(zip(("fl_x", "fl_y", "cx", "cy"), pinhole, strict=True))


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file of cameras.

    Raises:
        ValueError: far too large, broken JSON, no object.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path} is no camera file: it is larger than {_MAX_BYTES >> 20} MiB")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ValueError(f"{path} is not JSON: {reason[:120]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(content).__name__}")
    return content


def _number(values: dict[str, Any], key: str, subject: str) -> float:
    """A key's finite number."""
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{subject}: {key} must be a number, got {str(value)[:40]!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{subject}: {key} must be finite, got {number}")
    return number


def _size(values: dict[str, Any], hw: tuple[int, int] | None, subject: str) -> tuple[int, int]:
    """Height and width, from the file or else from the caller."""
    if "w" not in values or "h" not in values:
        if hw is None:
            raise ValueError(f"{subject} names no image size: add w and h to it, or pass hw")
        return int(hw[0]), int(hw[1])
    height, width = _number(values, "h", subject), _number(values, "w", subject)
    if height != int(height) or width != int(width):
        raise ValueError(f"{subject}: w and h must be whole pixels, got {width} and {height}")
    return int(height), int(width)


def _pinhole(values: dict[str, Any], hw: tuple[int, int], subject: str) -> Pinhole:
    """Focal lengths and principal point; what is missing follows from the rest (square pixels, centred)."""
    if "fl_x" in values:
        fx = _number(values, "fl_x", subject)
    elif "camera_angle_x" in values:
        fx = _focal_px(_number(values, "camera_angle_x", subject), hw[1], f"{subject}: camera_angle_x")
    else:
        raise ValueError(f"{subject} lacks its focal length: neither fl_x nor camera_angle_x is there")
    fy = fx
    if "fl_y" in values:
        fy = _number(values, "fl_y", subject)
    elif "camera_angle_y" in values and "fl_x" not in values:
        fy = _focal_px(_number(values, "camera_angle_y", subject), hw[0], f"{subject}: camera_angle_y")
    cx = _number(values, "cx", subject) if "cx" in values else hw[1] / 2
    cy = _number(values, "cy", subject) if "cy" in values else hw[0] / 2
    return fx, fy, cx, cy


def _focal_px(angle_rad: float, side_px: int, subject: str) -> float:
    """Focal length of a field of view."""
    if not 0 < angle_rad < math.pi:
        raise ValueError(f"{subject} must be between 0 and pi radians, got {angle_rad}")
    return side_px / (2 * math.tan(angle_rad / 2))


def _refuse_distortion(values: dict[str, Any], subject: str) -> None:
    """Refuses lenses that no pinhole describes."""
    model = values.get("camera_model", "OPENCV")
    if model not in _PINHOLE_MODELS:
        raise ValueError(f"{subject} must be a pinhole camera, got camera_model {str(model)[:40]}")
    bent = [key for key in _DISTORTIONS if key in values and _number(values, key, subject) != 0]
    if bent or values.get("is_fisheye"):
        what = ", ".join(bent) or "is_fisheye"
        raise ValueError(f"{subject} has lens distortion ({what}): undistort its image first")


def _matrix(value: Any, subject: str) -> list[list[float]]:
    """A 4x4 matrix of numbers; a missing last row is added."""
    if value is None:
        raise ValueError(f"{subject} is missing")
    rows = value if isinstance(value, list) else []
    numbers = all(
        isinstance(row, list) and len(row) == 4 and all(type(x) in (int, float) and abs(x) < 1e300 for x in row)
        for row in rows
    )
    if len(rows) not in (3, 4) or not numbers:
        finite = not any(isinstance(x, float) and not math.isfinite(x) for r in rows if isinstance(r, list) for x in r)
        raise ValueError(f"{subject} must be 4 x 4 numbers" + ("" if finite else ", all of them finite"))
    return rows if len(rows) == 4 else [*rows, [0.0, 0.0, 0.0, 1.0]]
