"""Gaussians as a ``.splat`` file: 32 bytes each, as antimatter15's web viewer introduced it.

``float32 x y z``, ``float32 scale x y z``, ``uint8 red green blue alpha``, ``uint8 w x y z`` (128 + 128 q). The format
holds no view-dependent colour; colours and opacities have 8 bits. The axes are the world's own.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from onescene.io.arrays import GaussianArrays
from onescene.io.atomic import atomic_write_bytes
from onescene.types import SH_C0

logger = logging.getLogger(__name__)

_RECORD = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def write_splat(arrays: GaussianArrays, path: str | os.PathLike) -> Path:
    """Writes a ``.splat`` file, with a note in the log where spherical harmonics above degree 0 are dropped."""
    if arrays.sh.shape[1] > 1:
        logger.warning("%s: a .splat file holds no view-dependent colour, it is dropped", path)
    records = np.zeros(len(arrays), _RECORD)
    records["means"], records["scales"] = arrays.means, arrays.scales
    rgb = 0.5 + SH_C0 * arrays.sh[:, 0]
    rgba = np.concatenate([rgb, arrays.opacities[:, None]], axis=1)
    records["rgba"] = np.round(np.clip(rgba, 0, 1) * 255)
    records["quats"] = np.clip(np.round(arrays.quats * 128 + 128), 0, 255)
    return atomic_write_bytes(path, records.tobytes())


def read_splat(path: Path) -> GaussianArrays:
    """Reads a ``.splat`` file.

    Raises:
        ValueError: the size is no multiple of 32 bytes.
    """
    size = path.stat().st_size
    if size % _RECORD.itemsize:
        raise ValueError(f"{path} is truncated or no .splat file: {size} bytes are no multiple of {_RECORD.itemsize}")
    records = np.fromfile(path, _RECORD)
    rgba = records["rgba"].astype(np.float32) / 255
    return GaussianArrays(
        means=records["means"].astype(np.float32),
        quats=(records["quats"].astype(np.float32) - 128) / 128,
        scales=records["scales"].astype(np.float32),
        opacities=rgba[:, 3],
        sh=((rgba[:, :3] - 0.5) / np.float32(SH_C0))[:, None],
    )
