"""Gaussians as the PLY file of 3D Gaussian Splatting (Kerbl et al. 2023), which every viewer reads.

One float32 record per Gaussian: ``x y z nx ny nz f_dc_0..2 f_rest_* opacity scale_0..2 rot_0..3``, little endian;
``f_rest`` channel by channel (all of red first), opacities as logits, scales as natural logarithms, rotations wxyz.
The axes are the world's own (x right, y down, z forward), as in files trained from COLMAP cameras.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from onescene.io.arrays import (
    LOGIT_LIMIT,
    MAX_DEGREE,
    GaussianArrays,
    logits_from_opacities,
    note_cut_degree,
    opacities_from_logits,
    scales_from_logs,
)
from onescene.io.atomic import atomic_write_bytes
from onescene.io.ply_header import PlyHeader, read_ply_element, read_ply_header

_MEANS = ("x", "y", "z")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_REQUIRED = (*_MEANS, *_DC, "opacity", *_SCALES, *_QUATS)
_REST_PER_CHANNEL = {0: 0, 3: 1, 8: 2, 15: 3, 24: 4}  # coefficients above degree 0 -> degree


def write_ply(arrays: GaussianArrays, path: str | os.PathLike) -> Path:
    """Writes the 3DGS PLY, normals zero; returns the path."""
    return atomic_write_bytes(path, ply_bytes(arrays))


def ply_bytes(arrays: GaussianArrays) -> bytes:
    """The 3DGS PLY of checked arrays, as bytes."""
    n, k = arrays.sh.shape[:2]
    rest = [f"f_rest_{i}" for i in range(3 * (k - 1))]
    names = [*_MEANS, "nx", "ny", "nz", *_DC, *rest, "opacity", *_SCALES, *_QUATS]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    lines += [f"property float {name}" for name in names] + ["end_header", ""]
    columns = [
        arrays.means,
        np.zeros_like(arrays.means),
        arrays.sh[:, 0],
        arrays.sh[:, 1:].transpose(0, 2, 1).reshape(n, -1),
        logits_from_opacities(arrays.opacities)[:, None],
        np.log(arrays.scales),
        arrays.quats,
    ]
    return "\n".join(lines).encode("ascii") + np.concatenate(columns, axis=1).astype("<f4").tobytes()


def read_ply(file: BinaryIO, header: PlyHeader, *, infinite_logits: bool = False) -> GaussianArrays:
    """Reads a 3DGS PLY whose properties may stand in any order, with or without normals and further properties.

    Degree 4 is cut to degree 3 with a note in the log.

    Args:
        file: An open file; its position does not matter.
        header: Its header.
        infinite_logits: Whether an infinite opacity logit stands for 0 or 1 instead of being refused.

    Raises:
        ValueError: missing properties (named), properties that are not floating point, an ``f_rest`` count that is
            no whole degree, a truncated body, lists.
    """
    vertex = header.element("vertex")
    names = vertex.dtype.names or () if vertex is not None and vertex.dtype is not None else ()
    if vertex is not None and vertex.dtype is not None:
        _check_properties(vertex.dtype, header.source)
    degree = _degree(names, header.source)
    rest_names = [f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1))]
    records = read_ply_element(file, header, "vertex")
    rest = _columns(records, rest_names).reshape(len(records), 3, len(rest_names) // 3).transpose(0, 2, 1)
    if degree > MAX_DEGREE:
        note_cut_degree(header.source, degree)
        rest = rest[:, : (MAX_DEGREE + 1) ** 2 - 1]
    logits = _columns(records, ("opacity",))[:, 0]
    if infinite_logits:
        logits = np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)
    return GaussianArrays(
        means=_columns(records, _MEANS),
        quats=_columns(records, _QUATS),
        scales=scales_from_logs(_columns(records, _SCALES), header.source),
        opacities=opacities_from_logits(logits, header.source),
        sh=np.concatenate([_columns(records, _DC)[:, None], rest], axis=1),
    )


def read_converted_ply(data: bytes, source: str | os.PathLike) -> GaussianArrays:
    """Reads a 3DGS PLY that a converter made of a format with 8-bit opacities, whose 0 and 255 became +-infinity."""
    file = io.BytesIO(data)
    return read_ply(file, read_ply_header(file, source), infinite_logits=True)


def _check_properties(dtype: np.dtype, source: str | os.PathLike) -> None:
    """Names what a Gaussian PLY lacks, or what is of the wrong type."""
    names = dtype.names or ()
    missing = [n for n in _REQUIRED if n not in names]
    if missing:
        raise ValueError(f"{source} is not a PLY of Gaussians: the properties {', '.join(missing)} are missing")
    for name in names:
        if (name in _REQUIRED or name.startswith("f_rest_")) and dtype[name].kind != "f":
            raise ValueError(f"{source}: the property {name} must be float or double, got {dtype[name].name}")


def _degree(names: tuple[str, ...], source: str | os.PathLike) -> int:
    """SH degree out of the ``f_rest_*`` properties, which have to be numbered without a gap."""
    rest = {n for n in names if n.startswith("f_rest_")}
    per_channel, remainder = divmod(len(rest), 3)
    if remainder or per_channel not in _REST_PER_CHANNEL or rest != {f"f_rest_{i}" for i in range(len(rest))}:
        raise ValueError(f"{source}: f_rest_* must be 0, 9, 24, 45 or 72 numbered properties, got {len(rest)}")
    return _REST_PER_CHANNEL[per_channel]


def _columns(records: np.ndarray, names: tuple[str, ...] | list[str]) -> np.ndarray:
    """Properties side by side as float32 [N, len(names)]; what does not fit becomes infinite."""
    out = np.empty((len(records), len(names)), np.float32)
    with np.errstate(over="ignore"):
        for i, name in enumerate(names):
            out[:, i] = records[name]
    return out
