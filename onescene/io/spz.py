"""Gaussians as ``.spz`` files of Niantic's format, versions 1 to 4.

Read here, except for version 4, whose streams gaussforge unpacks once their sizes are known to be true; written by
gaussforge as version 3. Lossy: positions to 1/4096, scales to 1/16 of a factor e, the rest in 8 bits or fewer.

Axes. The format's are right-up-back (OpenGL's). gaussforge 0.6.0 copies the numbers of a PLY into an SPZ as they are,
so a scene with y down would come out upside down in programs that follow the format (PlayCanvas's splat-transform
turns y and z on reading and on writing). Here the scene is turned half around x on both ways.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onescene.io.arrays import (
    MAX_DEGREE,
    GaussianArrays,
    note_cut_degree,
    quats_from_three,
    scales_from_logs,
    turned_about_x,
)
from onescene.io.atomic import atomic_write_bytes
from onescene.io.ply import ply_bytes, read_converted_ply
from onescene.io.sources import bytes_beginning_with

REACH = 2048.0  # positions are 24-bit numbers with 12 fractional bits; gaussforge wraps what lies beyond
_MAGIC = 0x5053474E
_GZIP = b"\x1f\x8b"
_HEADER = struct.Struct("<IIIBBBB")  # magic, version, points, SH degree, fractional bits, flags, streams
_STREAM = struct.Struct("<QQ")  # compressed and plain size of a stream of version 4
_COEFFICIENTS = {0: 0, 1: 3, 2: 8, 3: 15, 4: 24}
_COLOUR_SCALE = 0.15  # f_dc of the format's bytes: (byte / 255 - 0.5) / 0.15
_SLACK_BYTES = 1 << 20  # extensions behind the last Gaussian
# Real scenes shrink 2 to 30 times; what claims far more is a bomb. Small files may well repeat themselves.
_MAX_RATIO, _ALWAYS_FINE_BYTES = 200, 64 << 20


@dataclass(frozen=True, kw_only=True)
class SpzHeader:
    """What the first 16 bytes say, and how many bytes the Gaussians take unpacked."""

    version: int
    count: int
    degree: int
    fraction_bits: int
    streams: int
    plain_bytes: int


def write_spz(arrays: GaussianArrays, path: str | os.PathLike) -> Path:
    """Writes an SPZ file of version 3; returns the path.

    Raises:
        ValueError: a Gaussian lies 2048 or more from the origin along an axis.
    """
    from gaussforge import GaussForge  # here: a compiled package that most commands do not need

    farthest = float(np.abs(arrays.means).max())
    if farthest >= REACH - 1 / 4096:
        raise ValueError(f"an SPZ file holds positions below {REACH:g} along each axis, got {farthest:g}")
    result = GaussForge().convert(ply_bytes(turned_about_x(arrays)), "ply", "spz", spz_version=3)
    if "error" in result:
        raise RuntimeError(f"gaussforge could not write {path}: {result['error']}")
    header, _ = _unpacked(result["data"], path)
    if header.count != len(arrays):
        raise RuntimeError(f"gaussforge wrote {header.count} of {len(arrays)} Gaussians to {path}")
    return atomic_write_bytes(path, result["data"])


def read_spz(path: Path) -> GaussianArrays:
    """Reads an SPZ file; degree 4 is cut to degree 3 with a note in the log.

    Raises:
        ValueError: not an SPZ file, an unknown version, truncated, or a count that the file can not hold.
    """
    data = bytes_beginning_with(path, _GZIP, _MAGIC.to_bytes(4, "little"))
    if data[:2] != _GZIP:
        return _read_version_4(data, path)
    header, body = _unpacked(data, path)
    if header.version > 3:
        raise ValueError(f"{path} is not an SPZ file: version {header.version} must not be compressed as a whole")
    widths = [6 if header.version == 1 else 9, 1, 3, 3, 3 if header.version < 3 else 4]
    widths.append(3 * _COEFFICIENTS[header.degree])
    columns, offset = [], 0
    for width in widths:
        columns.append(np.frombuffer(body, np.uint8, header.count * width, offset).reshape(header.count, width))
        offset += header.count * width
    means, alphas, colours, scales, rotations, rest = columns
    dc = (colours / np.float32(255) - 0.5) / np.float32(_COLOUR_SCALE)
    rest = ((rest.astype(np.float32) - 128) / 128).reshape(header.count, -1, 3)[:, :15]
    if header.degree > MAX_DEGREE:
        note_cut_degree(path, header.degree)
    arrays = GaussianArrays(
        means=_positions(means, header),
        quats=_rotations(rotations),
        scales=scales_from_logs(scales.astype(np.float32) / 16 - 10, path),
        opacities=alphas[:, 0] / np.float32(255),
        sh=np.concatenate([dc[:, None], rest], axis=1),
    )
    return turned_about_x(arrays)


def _header(data: bytes, source: str | os.PathLike) -> SpzHeader:
    """The header, once its values are ones that the format knows."""
    if len(data) < _HEADER.size:
        raise ValueError(f"{source} is truncated or no SPZ file: it ends in its header")
    magic, version, count, degree, fraction_bits, _, streams = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError(f"{source} is not an SPZ file: it does not begin as one")
    if not 1 <= version <= 4 or degree not in _COEFFICIENTS or fraction_bits > 23:
        got = f"version {version}, degree {degree}, {fraction_bits} fractional bits"
        raise ValueError(f"{source}: SPZ versions 1 to 4 of degree 0 to 4 can be read, got {got}")
    if count == 0:
        raise ValueError(f"{source} must hold at least one Gaussian, got none")
    each = (6 if version == 1 else 9) + 1 + 3 + 3 + (3 if version < 3 else 4) + 3 * _COEFFICIENTS[degree]
    return SpzHeader(
        version=version,
        count=count,
        degree=degree,
        fraction_bits=fraction_bits,
        streams=streams,
        plain_bytes=count * each,
    )


def _refuse_bomb(plain: int, packed: int, source: str | os.PathLike) -> None:
    """Refuses a file that claims to be far larger unpacked than real scenes are."""
    if plain > max(_ALWAYS_FINE_BYTES, _MAX_RATIO * packed):
        raise ValueError(f"{source} claims {plain} bytes of Gaussians in a file of {packed}")


def _unpacked(data: bytes, source: str | os.PathLike) -> tuple[SpzHeader, bytes]:
    """Header and unpacked body of versions 1 to 3; unpacks no more than the header promises."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        header = _header(unpacker.decompress(data, _HEADER.size), source)
        _refuse_bomb(header.plain_bytes, len(data), source)
        body = unpacker.decompress(unpacker.unconsumed_tail, header.plain_bytes + _SLACK_BYTES)
    except zlib.error as error:
        raise ValueError(f"{source} is damaged: its compressed data can not be unpacked") from error
    if not unpacker.eof or len(body) < header.plain_bytes:
        raise ValueError(
            f"{source} is truncated or damaged: "
            f"{header.count} Gaussians need {header.plain_bytes} bytes, got {len(body)}{'' if unpacker.eof else '+'}"
        )
    return header, body


def _positions(raw: np.ndarray, header: SpzHeader) -> np.ndarray:
    """Positions: half floats in version 1, then signed 24-bit numbers with a fixed point."""
    if header.version == 1:
        return np.ascontiguousarray(raw).view("<f2").astype(np.float32)
    low, middle, high = raw.reshape(-1, 3, 3).transpose(2, 0, 1).astype(np.int32)
    fixed = low | middle << 8 | high << 16
    fixed -= (fixed >> 23) << 24  # sign
    return (fixed / float(1 << header.fraction_bits)).astype(np.float32)


def _rotations(raw: np.ndarray) -> np.ndarray:
    """Quaternions wxyz: x y z as bytes (versions 1, 2), or the three smaller of xyzw in 10 bits each (version 3)."""
    if raw.shape[1] == 3:
        xyz = raw.astype(np.float32) / 127.5 - 1
        w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(axis=1, keepdims=True)))
        return np.concatenate([w, xyz], axis=1)
    packed = np.ascontiguousarray(raw).view("<u4")[:, 0]
    largest = (packed >> 30).astype(np.int64)
    parts = np.stack([packed >> shift & 1023 for shift in (20, 10, 0)], axis=1)
    others = np.where(parts >> 9, -1, 1) * (parts & 511) * (np.sqrt(0.5) / 511)  # a sign and 9 bits
    return np.roll(quats_from_three(others, largest), 1, axis=1)


def _read_version_4(data: bytes, path: Path) -> GaussianArrays:
    """Reads version 4 through gaussforge, which trusts the file's sizes: so they are checked first."""
    from gaussforge import GaussForge

    header = _header(data, path)
    if header.version < 4:
        raise ValueError(f"{path} is not an SPZ file: version {header.version} must be compressed")
    if len(data) < _HEADER.size + 4:
        raise ValueError(f"{path} is truncated: it ends in its header")
    table = struct.unpack_from("<I", data, _HEADER.size)[0]
    end = table + header.streams * _STREAM.size
    sizes = [_STREAM.unpack_from(data, at) for at in range(table, end, _STREAM.size)] if end <= len(data) else []
    if end > len(data) or end + sum(packed for packed, _ in sizes) > len(data):
        raise ValueError(f"{path} is truncated: its streams are longer than the file")
    promised = sum(plain for _, plain in sizes)
    if not header.plain_bytes <= promised <= header.plain_bytes + _SLACK_BYTES:
        raise ValueError(f"{path} is damaged: {header.count} Gaussians need {header.plain_bytes} bytes, not {promised}")
    _refuse_bomb(promised, len(data), path)
    result = GaussForge().convert(data, "spz", "ply")
    if "error" in result:
        raise ValueError(f"{path} is not a whole .spz file: {result['error']}")
    arrays = read_converted_ply(result["data"], path)
    if len(arrays) != header.count:
        raise ValueError(f"{path} is damaged: {header.count} Gaussians promised, {len(arrays)} there")
    return turned_about_x(arrays)
