"""Points of a COLMAP model: ``points3D.bin`` or ``points3D.txt``, written without tracks, read past them."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch

from onescene.geometry.surface import PointCloud
from onescene.io.arrays import MAX_LENGTH
from onescene.io.colmap_records import FileBytes, numbered_lines, unreadable

# id, xyz, rgb, reprojection error, length of the track
_RECORD = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")])
_TRACK_BYTES = 8  # an image and a point of it


def points_file(points: PointCloud | None, *, binary: bool) -> bytes:
    """Contents of a points file: ids from 1, no error, no track; empty without points."""
    records = np.zeros(0 if points is None else len(points.xyz), _RECORD)
    if points is not None:
        records["id"] = np.arange(1, len(records) + 1)
        records["xyz"] = points.xyz.detach().cpu().double().numpy()
        records["rgb"] = (points.rgb.detach().cpu().clamp(0, 1) * 255).round().byte().numpy()
    if binary:
        return struct.pack("<Q", len(records)) + records.tobytes()
    lines = ["# POINT3D_ID X Y Z R G B ERROR TRACK[]"]
    lines += [" ".join(map(str, (r["id"], *r["xyz"], *r["rgb"], 0))) for r in records]
    return ("\n".join(lines) + "\n").encode()


def read_points_file(path: Path) -> PointCloud:
    """Reads a points file, text or binary by its suffix; no point is fine.

    Raises:
        ValueError: truncated, a line that can not be read, a coordinate that is not finite.
    """
    xyz, rgb = (_binary_points if path.suffix == ".bin" else _text_points)(path)
    bad = np.flatnonzero(~(np.abs(xyz) <= MAX_LENGTH).all(axis=1))  # a NaN is not smaller
    if len(bad):
        raise ValueError(f"{path}: every value must be finite, got {xyz[bad[0]].tolist()} in point {bad[0]}")
    return PointCloud(xyz=torch.from_numpy(xyz).float(), rgb=torch.from_numpy(rgb).float() / 255)


def _binary_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Places and colours of ``points3D.bin``."""
    data = FileBytes(path)
    count = data.take("Q")[0]
    if count * _RECORD.itemsize > len(data.data) - data.at:
        raise ValueError(f"{path} is truncated: {count} points promised, the file ends before")
    records = np.zeros(count, _RECORD)
    for i in range(count):
        start = data.at
        data.skip(_RECORD.itemsize)
        records[i] = np.frombuffer(data.data, _RECORD, 1, start)[0]
        data.skip(int(records[i]["track"]) * _TRACK_BYTES)
    return records["xyz"].astype(np.float64), records["rgb"]


def _text_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Places and colours of ``points3D.txt``."""
    xyz, rgb = [], []
    for number, line in numbered_lines(path):
        words = line.split(maxsplit=8)
        if not words:
            continue
        try:
            xyz.append([float(word) for word in words[1:4]])
            rgb.append([int(word) for word in words[4:7]])
        except ValueError as error:
            raise unreadable(path, number, line) from error
        if len(words) < 8 or not all(map(math.isfinite, xyz[-1])) or not all(0 <= value < 256 for value in rgb[-1]):
            raise unreadable(path, number, line)
    return np.array(xyz, np.float64).reshape(-1, 3), np.array(rgb, np.uint8).reshape(-1, 3)
