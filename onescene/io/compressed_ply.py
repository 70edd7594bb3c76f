"""Gaussians as PlayCanvas's compressed PLY (``.compressed.ply``): 16 bytes each, plus one byte per coefficient.

Gaussians lie in chunks of 256 along a space-filling curve. A chunk holds the bounds of its positions, log scales and
colours; a Gaussian holds where it lies between them: positions and scales in 11 + 10 + 11 bits, colour and opacity in
8 bits each, the rotation as its three smaller components in 10 bits each. Coefficients above degree 0 are bytes over
[-4, 4]. The axes are the world's own.

Written here rather than through gaussforge, whose version 0.6.0 stores the coefficients of colour in the wrong order.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from onescene.io.arrays import GaussianArrays, quats_from_three, scales_from_logs
from onescene.io.atomic import atomic_write_bytes
from onescene.io.ply_header import PlyHeader, read_ply_element
from onescene.types import SH_C0

CHUNK = 256
_LOG_SCALE_LIMIT = 20.0  # as PlayCanvas's own writer clamps
_SH_RANGE = 8.0  # coefficients lie in [-4, 4]
_AXES = ("x", "y", "z")
_BOUNDS = tuple(
    f"{end}_{what}"
    for whats in (_AXES, tuple(f"scale_{a}" for a in _AXES), ("r", "g", "b"))
    for end in ("min", "max")
    for what in whats
)
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_REST_COUNTS = (0, 9, 24, 45)


def is_compressed(header: PlyHeader) -> bool:
    """Whether a PLY header is that of a compressed PLY, whatever the file is called."""
    vertex = header.element("vertex")
    return vertex is not None and vertex.dtype is not None and "packed_position" in (vertex.dtype.names or ())


def write_compressed_ply(arrays: GaussianArrays, path: str | os.PathLike) -> Path:
    """Writes a compressed PLY (Gaussians in another order, coefficients clamped to [-4, 4]); returns the path."""
    order = _curve_order(arrays.means)
    n, k = arrays.sh.shape[:2]
    position = arrays.means[order]
    scale = np.clip(np.log(arrays.scales[order]), -_LOG_SCALE_LIMIT, _LOG_SCALE_LIMIT)
    colour = 0.5 + np.float32(SH_C0) * arrays.sh[order, 0]
    opacity = arrays.opacities[order, None]
    chunks, packed = [], np.empty((n, 4), "<u4")
    for column, values in ((0, position), (2, scale), (3, colour)):
        lowest, highest = _chunk_bounds(values)
        chunks += [lowest, highest]
        unit = _normalised(values, lowest, highest)
        packed[:, column] = _pack_8888(np.concatenate([unit, opacity], axis=1)) if column == 3 else _pack_111011(unit)
    packed[:, 1] = _pack_rotation(arrays.quats[order])
    rest = arrays.sh[order, 1:].transpose(0, 2, 1).reshape(n, -1)
    rest_bytes = np.clip(np.floor((rest / _SH_RANGE + 0.5) * 256), 0, 255).astype(np.uint8)
    header = ["ply", "format binary_little_endian 1.0", f"element chunk {len(chunks[0])}"]
    header += [f"property float {name}" for name in _BOUNDS]
    header += [f"element vertex {n}"] + [f"property uint {name}" for name in _PACKED]
    if k > 1:
        header += [f"element sh {n}"] + [f"property uchar f_rest_{i}" for i in range(rest.shape[1])]
    body = np.concatenate(chunks, axis=1).astype("<f4").tobytes() + packed.tobytes() + rest_bytes.tobytes()
    return atomic_write_bytes(path, "\n".join([*header, "end_header", ""]).encode("ascii") + body)


def read_compressed_ply(file: BinaryIO, header: PlyHeader) -> GaussianArrays:
    """Reads a compressed PLY, also an older one whose chunks hold no bounds of colour.

    Raises:
        ValueError: missing elements or properties, wrong types, too few chunks, a truncated body.
    """
    packed = _table(file, header, "vertex", _PACKED, "u4")
    n = len(packed)
    chunk = header.element("chunk")
    bounded_colour = chunk is not None and chunk.dtype is not None and "min_r" in (chunk.dtype.names or ())
    bounds = _table(file, header, "chunk", _BOUNDS if bounded_colour else _BOUNDS[:12], "f4")
    if len(bounds) * CHUNK < n:
        raise ValueError(f"{header.source}: {n} Gaussians need {-(-n // CHUNK)} chunks, got {len(bounds)}")
    bounds = bounds[np.arange(n) // CHUNK]
    rgba = _unpack_8888(packed[:, 3])
    colour = _between(rgba[:, :3], bounds[:, 12:]) if bounded_colour else rgba[:, :3]
    logs = _between(_unpack_111011(packed[:, 2]), bounds[:, 6:12])
    sh = ((colour - 0.5) / np.float32(SH_C0))[:, None]
    return GaussianArrays(
        means=_between(_unpack_111011(packed[:, 0]), bounds[:, :6]),
        quats=_unpack_rotation(packed[:, 1]),
        scales=scales_from_logs(logs, header.source),
        opacities=rgba[:, 3],
        sh=np.concatenate([sh, _read_rest(file, header, n)], axis=1),
    )


def _table(file: BinaryIO, header: PlyHeader, element: str, names: tuple[str, ...], kind: str) -> np.ndarray:
    """Named properties of an element side by side, once they are there and of the right type."""
    found = header.element(element)
    there = dict(found.dtype.fields or {}) if found is not None and found.dtype is not None else {}
    missing = [name for name in names if name not in there]
    if missing:
        raise ValueError(f"{header.source} is not a compressed PLY: {element} lacks {', '.join(missing)}")
    wrong = [name for name in names if there[name][0].str[1:] != kind]
    if wrong:
        got = there[wrong[0]][0].name
        raise ValueError(f"{header.source}: {wrong[0]} of {element} must be of type {kind}, got {got}")
    records = read_ply_element(file, header, element)
    return np.stack([records[name] for name in names], axis=1).astype(kind)


def _read_rest(file: BinaryIO, header: PlyHeader, n: int) -> np.ndarray:
    """Coefficients above degree 0 [N, K - 1, 3]; none where the file has no element ``sh``."""
    element = header.element("sh")
    if element is None:
        return np.empty((n, 0, 3), np.float32)
    count = len(element.dtype.names or ()) if element.dtype is not None else -1
    if count not in _REST_COUNTS or element.count != n:
        raise ValueError(f"{header.source}: the element sh must hold 9, 24 or 45 bytes for each of {n} Gaussians")
    values = _table(file, header, "sh", tuple(f"f_rest_{i}" for i in range(count)), "u1")
    unit = (values.astype(np.float32) + 0.5) / 256
    unit[values == 0], unit[values == 255] = 0, 1
    return ((unit - 0.5) * _SH_RANGE).reshape(n, 3, count // 3).transpose(0, 2, 1)


def _chunk_bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest value of each chunk."""
    starts = np.arange(0, len(values), CHUNK)
    return np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


def _normalised(values: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Where values lie between the bounds of their chunk, in [0, 1]."""
    of = np.arange(len(values)) // CHUNK
    extent = (highest - lowest)[of]
    return np.divide(values - lowest[of], extent, out=np.zeros_like(values), where=extent > 0)


def _between(unit: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_normalised`; bounds [N, 6] are the three lowest, then the three highest values."""
    with np.errstate(invalid="ignore", over="ignore"):  # hostile bounds become NaN, which is refused later
        return bounds[:, :3] * (1 - unit) + bounds[:, 3:] * unit


def _levels(unit: np.ndarray, bits: int) -> np.ndarray:
    """Values in [0, 1] as integers of so many bits."""
    top = (1 << bits) - 1
    return np.clip(np.round(unit.astype(np.float64) * top), 0, top).astype(np.uint32)


def _pack_111011(unit: np.ndarray) -> np.ndarray:
    """Three values in 11 + 10 + 11 bits."""
    return _levels(unit[:, 0], 11) << 21 | _levels(unit[:, 1], 10) << 11 | _levels(unit[:, 2], 11)


def _unpack_111011(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_pack_111011`."""
    parts = [(packed >> 21) / 2047, (packed >> 11 & 1023) / 1023, (packed & 2047) / 2047]
    return np.stack(parts, axis=1).astype(np.float32)


def _pack_8888(unit: np.ndarray) -> np.ndarray:
    """Four values in 8 bits each."""
    r, g, b, a = _levels(unit, 8).T
    return r << 24 | g << 16 | b << 8 | a


def _unpack_8888(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_pack_8888`."""
    return np.stack([packed >> shift & 255 for shift in (24, 16, 8, 0)], axis=1).astype(np.float32) / 255


def _pack_rotation(quats: np.ndarray) -> np.ndarray:
    """Which component (wxyz) is largest in 2 bits, the other three, over [-1, 1] / sqrt(2), in 10 bits each."""
    largest = np.abs(quats).argmax(axis=1)
    rows = np.arange(len(quats))
    quats = quats * np.where(quats[rows, largest] < 0, -1, 1)[:, None]  # q and -q turn alike
    others = quats[np.arange(4) != largest[:, None]].reshape(-1, 3)
    a, b, c = _levels(others / np.sqrt(2) + 0.5, 10).T
    return largest.astype(np.uint32) << 30 | a << 20 | b << 10 | c


def _unpack_rotation(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_pack_rotation`."""
    others = np.stack([packed >> shift & 1023 for shift in (20, 10, 0)], axis=1) / 1023
    others = (others - 0.5) * np.sqrt(2)
    return quats_from_three(others, packed >> 30)


def _curve_order(means: np.ndarray) -> np.ndarray:
    """Order along a Morton curve: neighbours in a chunk are neighbours in space, so its bounds are tight."""
    lowest, highest = means.min(axis=0), means.max(axis=0)
    unit = (means - lowest) / np.maximum(highest - lowest, np.finfo(np.float32).tiny)
    codes = np.zeros(len(means), np.uint64)
    levels = _levels(unit, 10).astype(np.uint64)
    for bit in range(10):
        for axis in range(3):
            codes |= (levels[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(codes, kind="stable")
