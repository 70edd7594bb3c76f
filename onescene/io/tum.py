"""Cameras as a TUM trajectory: ``timestamp x y z qx qy qz qw`` per line, camera-to-world in OpenCV axes.

The format knows neither intrinsics nor a size. They stand in two comment lines that other programs skip,
``# hw 480 640`` and ``# K fx fy cx cy``, or are given by the caller.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from onescene.geometry.rotations import quaternion_from_matrix, rigid
from onescene.io.atomic import atomic_write_text
from onescene.io.camera_checks import CameraFile, Pinhole, checked_cameras, matrices_and_pinholes, rotations_from_quats
from onescene.io.sources import existing_file
from onescene.types import Cameras

_MAX_BYTES = 64 << 20  # a line takes about 100 bytes, and several times as much once it is read


def write_tum(cameras: Cameras, path: str | os.PathLike) -> Path:
    """Writes a TUM trajectory whose timestamps count the cameras; returns the path.

    Raises:
        ValueError: cameras of different intrinsics, or that :func:`matrices_and_pinholes` refuses.
    """
    world_from_cam, pinholes = matrices_and_pinholes(cameras)
    if len(set(pinholes)) > 1:
        raise ValueError("a TUM file holds one camera's path: K must be the same for all cameras")
    lines = [f"# hw {cameras.hw[0]} {cameras.hw[1]}", "# K " + " ".join(map(repr, pinholes[0]))]
    lines.append("# timestamp x y z qx qy qz qw (world_from_cam)")
    quats = quaternion_from_matrix(world_from_cam[:, :3, :3])[:, [1, 2, 3, 0]]
    for i, row in enumerate(torch.cat([world_from_cam[:, :3, 3], quats], dim=1).tolist()):
        lines.append(" ".join([str(i), *map(repr, row)]))
    return atomic_write_text(path, "\n".join(lines) + "\n")


def read_tum(
    path: str | os.PathLike, *, hw: tuple[int, int] | None = None, pinhole: Pinhole | None = None
) -> CameraFile:
    """Reads a TUM trajectory.

    Args:
        path: The file.
        hw: Image height and width [px], for a file that names none.
        pinhole: fx, fy, cx, cy [px], for a file that names none.

    Raises:
        ValueError: a line that is not eight numbers, no intrinsics or size anywhere, or cameras that
            :func:`checked_cameras` refuses.
    """
    found = existing_file(path, "camera file")
    if found.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{found} is no camera file: it is larger than {_MAX_BYTES >> 20} MiB")
    rows = []
    for number, line in enumerate(found.read_text("utf-8", "replace").splitlines(), start=1):
        words = line.replace(",", " ").split()
        if words[:2] == ["#", "hw"]:
            sides = _numbers(words[2:], 2, f"{found} line {number}")
            hw = hw or (int(sides[0]), int(sides[1]))
        elif words[:2] == ["#", "K"]:
            pinhole = pinhole or tuple(_numbers(words[2:], 4, f"{found} line {number}"))
        elif words and not words[0].startswith("#"):
            rows.append(_numbers(words, 8, f"{found} line {number}"))
    if hw is None or pinhole is None:
        raise ValueError(
            f"{found} names no intrinsics: add the lines `# hw H W` and `# K fx fy cx cy`, or pass hw and K"
        )
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 8)
    rotations = rotations_from_quats(table[:, 4:], found, order="xyzw")
    cameras = checked_cameras(rigid(rotations, table[:, 1:4]), [pinhole] * len(rows), hw, found)
    return CameraFile(cameras=cameras, names=(None,) * len(rows))


def _numbers(words: list[str], count: int, subject: str) -> list[float]:
    """So many finite numbers."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(f"{subject} must hold {count} finite numbers, got `{' '.join(words)[:80]}`")
    return values
