"""``load_gaussians`` and ``save_gaussians``: one format per suffix, the world's axes on our side of all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from onescene.io.arrays import GaussianArrays, arrays_from_gaussians, gaussians_from_arrays
from onescene.io.compressed_ply import is_compressed, read_compressed_ply, write_compressed_ply
from onescene.io.glb import read_glb, write_glb
from onescene.io.ply import read_ply, write_ply
from onescene.io.ply_header import read_ply_header
from onescene.io.sog import read_sog, write_sog
from onescene.io.sources import existing_file, suffix_of
from onescene.io.splat import read_splat, write_splat
from onescene.io.spz import read_spz, write_spz
from onescene.types import Gaussians


def _read_any_ply(path: Path) -> GaussianArrays:
    """A plain or a compressed PLY, told apart by its header."""
    with open(path, "rb") as file:
        header = read_ply_header(file, path)
        return read_compressed_ply(file, header) if is_compressed(header) else read_ply(file, header)


_FORMATS: dict[str, tuple[Callable, Callable]] = {
    ".ply": (_read_any_ply, write_ply),
    ".compressed.ply": (_read_any_ply, write_compressed_ply),
    ".splat": (read_splat, write_splat),
    ".spz": (read_spz, write_spz),
    ".sog": (read_sog, write_sog),
    ".glb": (read_glb, write_glb),
}
GAUSSIAN_SUFFIXES = tuple(_FORMATS)


def load_gaussians(path: str | os.PathLike) -> Gaussians:
    """Reads Gaussians from a file, by its suffix: .ply, .compressed.ply, .splat, .spz, .sog or .glb.

    Args:
        path: The file. A PLY may be plain or compressed whatever it is called.

    Returns:
        Gaussians with activated values in float32 on the CPU, quaternions of unit length, SH degree at most 3.

    Raises:
        FileNotFoundError: no such file.
        IsADirectoryError: ``path`` is a folder.
        ValueError: an unknown suffix, or a file that is not what its suffix says, truncated, or holds a NaN, an
            infinity or a count its size can not hold. No more memory is taken than the file's size justifies.
    """
    reader, _ = _format_of(path)
    found = existing_file(path, "Gaussian file")
    return gaussians_from_arrays(reader(found), found)


def save_gaussians(gaussians: Gaussians, path: str | os.PathLike) -> Path:
    """Writes Gaussians to a file, by its suffix, whole or not at all.

    ``.ply`` keeps every value in float32, ``.glb`` too; ``.splat`` drops view-dependent colour (with a note in the log)
    and keeps 8 bits of colour; ``.compressed.ply``, ``.spz`` and ``.sog`` are lossy and may reorder. Quaternions are
    written with unit length, opacities as finite logits, scales as at least 1e-18.

    Returns:
        The path.

    Raises:
        ValueError: an unknown suffix, no Gaussian, or values that can not be rendered (NaN, negative scales, ...).
        OSError: as :func:`onescene.io.atomic.atomic_path`.
    """
    _, writer = _format_of(path)
    return writer(arrays_from_gaussians(gaussians), path)


def _format_of(path: str | os.PathLike) -> tuple[Callable, Callable]:
    """Reader and writer of a path's suffix."""
    suffix = suffix_of(path)
    if suffix not in _FORMATS:
        raise ValueError(f"a Gaussian file must end in {', '.join(_FORMATS)}, got {Path(path).name!r}")
    return _FORMATS[suffix]
