"""Gaussians as bundled SOG files (PlayCanvas's format, version 2): a zip of WebP images and ``meta.json``.

Read here, because gaussforge 0.6.0 crashes on damaged files; written by gaussforge. Lossy: positions in 16 bits of a
logarithmic scale, scales and colours from tables of 256 values, view-dependent colour from a palette of clusters. The
numbers are those of the PLY a file is made from, as PlayCanvas's own tools keep them: the world's axes.
"""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onescene.io.arrays import GaussianArrays, quats_from_three, scales_from_logs
from onescene.io.atomic import atomic_write_bytes
from onescene.io.ply import ply_bytes

logger = logging.getLogger(__name__)

_MAX_META_BYTES = 1 << 20  # real ones take 20 kB, and JSON several times as much once it is read
# Each Gaussian takes 3 bytes of position that hardly shrink; what claims fewer than one is a bomb. Small files may well
# repeat themselves.
_ALWAYS_FINE_COUNT = 1 << 20
_PALETTE_COLUMNS = 64
_SLOW_COUNT = 100_000  # 370,000 of degree 3 took gaussforge 0.6.0 more than eight minutes, 40,000 seven seconds
_COEFFICIENTS = {1: 3, 2: 8, 3: 15}  # bands -> coefficients above degree 0
_QUAT_TAG = 252  # the alpha of a rotation: 252 + the index of its largest component
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, TypeError, IndexError, AttributeError),
    *(ValueError, OverflowError, RecursionError, NotImplementedError, RuntimeError, SyntaxError),
)
Pixels = Callable[[str, int], np.ndarray]


def write_sog(arrays: GaussianArrays, path: str | os.PathLike) -> Path:
    """Writes a bundled SOG file; returns the path. Many view-dependent colours take minutes, which the log says."""
    if arrays.sh_degree > 0 and len(arrays) > _SLOW_COUNT:
        logger.warning("%s: clustering the colours of %d Gaussians takes some minutes", path, len(arrays))
    from gaussforge import GaussForge  # here: a compiled package that most commands do not need

    result = GaussForge().convert(ply_bytes(arrays), "ply", "sog")
    if "error" in result:
        raise RuntimeError(f"gaussforge could not write {path}: {result['error']}")
    return atomic_write_bytes(path, result["data"])


def read_sog(path: Path) -> GaussianArrays:
    """Reads a bundled SOG file of version 2.

    Raises:
        ValueError: not a SOG file, another version, truncated, or a count that its images can not hold.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            info = bundle.getinfo("meta.json")
            if info.file_size > _MAX_META_BYTES:
                raise ValueError(f"meta.json takes {info.file_size} bytes")
            meta = json.loads(bundle.read(info))
            count = meta["count"]
            if meta.get("version") != 2 or type(count) is not int or count < 1:
                raise ValueError(f"version 2 with Gaussians can be read, got {meta.get('version')} with {count!r}")
            if count > max(_ALWAYS_FINE_COUNT, path.stat().st_size):
                raise ValueError(f"it claims {count} Gaussians in {path.stat().st_size} bytes")
            pixels = _pixel_reader(bundle)
            return _decoded(meta, count, pixels, path)
    except _DAMAGES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a whole .sog file: {reason[:200]}") from error


def _pixel_reader(bundle: zipfile.ZipFile) -> Pixels:
    """Reads images as [pixels, 4] bytes, once their size is known to be about what is needed."""

    def pixels(name: str, needed: int) -> np.ndarray:
        limit = 4 * needed + (1 << 16)  # rows are padded; images may be square
        info = bundle.getinfo(name)
        if info.file_size > 4 * limit:
            raise ValueError(f"{name} takes {info.file_size} bytes for {needed} pixels")
        with Image.open(io.BytesIO(bundle.read(info)), formats=["WEBP", "PNG"]) as image:
            if not needed <= image.width * image.height <= limit:
                raise ValueError(f"{name} holds {image.width} x {image.height} pixels, {needed} are needed")
            return np.asarray(image.convert("RGBA")).reshape(-1, 4)

    return pixels


def _decoded(meta: dict[str, Any], count: int, pixels: Pixels, path: Path) -> GaussianArrays:
    """Gaussians out of the images that ``meta.json`` names."""
    low, high = (pixels(name, count)[:count, :3].astype(np.float32) for name in meta["means"]["files"])
    bounds = np.array([meta["means"]["mins"], meta["means"]["maxs"]], np.float64).reshape(2, 3)
    with np.errstate(over="ignore", invalid="ignore"):  # hostile bounds become infinite, which is refused later
        position = bounds[0] + (bounds[1] - bounds[0]) * ((low + 256 * high) / 65535)
        means = (np.sign(position) * np.expm1(np.abs(position))).astype(np.float32)
    colours = pixels(meta["sh0"]["files"][0], count)[:count]
    dc = _table(meta["sh0"])[colours[:, :3]]
    return GaussianArrays(
        means=means,
        quats=_rotations(pixels(meta["quats"]["files"][0], count)[:count]),
        scales=scales_from_logs(_table(meta["scales"])[pixels(meta["scales"]["files"][0], count)[:count, :3]], path),
        opacities=colours[:, 3] / np.float32(255),
        sh=np.concatenate([dc[:, None], _rest(meta.get("shN"), count, pixels)], axis=1),
    )


def _table(part: dict[str, Any]) -> np.ndarray:
    """A table of 256 values."""
    values = np.array(part["codebook"], np.float64)
    if values.shape != (256,):
        raise ValueError(f"a codebook must hold 256 values, got shape {values.shape}")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _rotations(rgba: np.ndarray) -> np.ndarray:
    """Quaternions wxyz: three components in 8 bits over [-1, 1] / sqrt(2), the largest one left out."""
    largest = rgba[:, 3].astype(np.int64) - _QUAT_TAG
    if (largest < 0).any():
        raise ValueError("a rotation does not say which component it leaves out")
    others = (rgba[:, :3] / 255.0 - 0.5) * np.sqrt(2)
    return quats_from_three(others, largest)


def _rest(part: dict[str, Any] | None, count: int, pixels: Pixels) -> np.ndarray:
    """Coefficients above degree 0 [N, K - 1, 3]: each Gaussian names a row of the palette."""
    if not part:
        return np.empty((count, 0, 3), np.float32)
    coefficients = _COEFFICIENTS[part["bands"]]
    palette_name, label_name = part["files"]
    label = pixels(label_name, count)[:count].astype(np.int64)
    label = label[:, 0] | label[:, 1] << 8
    rows = int(label.max()) // _PALETTE_COLUMNS + 1
    palette = pixels(palette_name, rows * _PALETTE_COLUMNS * coefficients)[:, :3]
    palette = palette[: rows * _PALETTE_COLUMNS * coefficients].reshape(-1, coefficients, 3)
    return _table(part)[palette[label]]
