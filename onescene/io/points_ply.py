"""Coloured points as PLY: ``float x y z, uchar red green blue``, little endian, in the axes that the caller gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from onescene.geometry.surface import PointCloud
from onescene.io.arrays import MAX_LENGTH
from onescene.io.atomic import atomic_write_bytes
from onescene.io.ply_header import PlyHeader, read_ply_element, read_ply_header
from onescene.io.sources import existing_file, suffix_of

_RECORD = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_XYZ, _RGB = ("x", "y", "z"), ("red", "green", "blue")


def save_points(points: PointCloud, path: str | os.PathLike) -> Path:
    """Writes points as a binary PLY, whole or not at all; colours outside [0, 1] are clipped.

    Returns:
        The path.

    Raises:
        ValueError: another suffix, no point, a coordinate or a colour that is not finite.
        OSError: as :func:`onescene.io.atomic.atomic_path`.
    """
    if suffix_of(path) != ".ply":
        raise ValueError(f"points must be written to .ply, got {Path(path).name!r}")
    _check(points, "points")
    records = np.zeros(len(points.xyz), _RECORD)
    records["xyz"] = points.xyz.detach().cpu().numpy()
    records["rgb"] = (points.rgb.detach().cpu().clamp(0, 1) * 255).round().byte().numpy()
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(records)}"]
    lines += [f"property float {n}" for n in _XYZ] + [f"property uchar {n}" for n in _RGB] + ["end_header", ""]
    return atomic_write_bytes(path, "\n".join(lines).encode("ascii") + records.tobytes())


def load_points(path: str | os.PathLike) -> PointCloud:
    """Reads coloured points of a binary PLY, whatever else its vertices hold.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a PLY, truncated, coordinates that are missing, not floating point or not finite, colours that
            are missing or not bytes.
    """
    found = existing_file(path, "point file")
    with open(found, "rb") as file:
        header = read_ply_header(file, found)
        _check_properties(header)
        records = read_ply_element(file, header, "vertex")
    with np.errstate(over="ignore"):
        xyz = np.stack([records[n].astype(np.float32) for n in _XYZ], axis=1)
    rgb = np.stack([records[n] for n in _RGB], axis=1).astype(np.float32) / 255
    points = PointCloud(xyz=torch.from_numpy(xyz), rgb=torch.from_numpy(rgb))
    _check(points, str(found))
    return points


def _check_properties(header: PlyHeader) -> None:
    """Names what a PLY of points lacks, or what is of the wrong type; lists are refused by who reads the element."""
    vertex = header.element("vertex")
    if vertex is None or vertex.dtype is None:
        return
    there = vertex.dtype.fields or {}
    missing = [name for name in (*_XYZ, *_RGB) if name not in there]
    if missing:
        raise ValueError(f"{header.source} is not a PLY of coloured points: {', '.join(missing)} missing")
    for name in (*_XYZ, *_RGB):
        dtype, wanted = there[name][0], "float or double" if name in _XYZ else "uchar"
        if (dtype.kind != "f") if name in _XYZ else (dtype.str[1:] != "u1"):
            raise ValueError(f"{header.source}: the property {name} must be {wanted}, got {dtype.name}")


def _check(points: PointCloud, subject: str) -> None:
    """Refuses what can not be drawn."""
    if len(points.xyz) == 0 or len(points.xyz) != len(points.rgb):
        raise ValueError(f"{subject} must hold a colour for each of at least one point, got {len(points.xyz)} points")
    for name in ("xyz", "rgb"):
        bad = ~(getattr(points, name).abs() <= MAX_LENGTH)
        if bad.any():
            raise ValueError(f"{subject}: every value must be finite, got {name} in point {int(bad.nonzero()[0, 0])}")
