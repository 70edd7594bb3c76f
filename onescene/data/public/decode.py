"""Files of public data sets as arrays: colour, depth codes, and the Cassini projection of Deep360.

What is not known becomes NaN; where a renderer met nothing becomes infinite. Damaged files are refused by name.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8
from numpy import ndarray
from PIL import Image, UnidentifiedImageError

from onescene.geometry.equirect import directions_from_panorama, panorama_xy_from_directions, sample_panorama

MAX_PIXELS = 64_000_000  # the largest panoramas of the four data sets have 8 megapixels
_DAMAGES = (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, zlib.error, zipfile.BadZipFile)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns what decoders raise on a damaged file into one sentence that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except (*_DAMAGES, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path} can not be read: {reason}") from error


def read_colour(path: Path) -> UInt8[ndarray, "height width 3"]:
    """The colours of a picture; transparency is dropped.

    Raises:
        FileNotFoundError: there is none.
        ValueError: damaged, no picture, or far too large.
    """
    with naming(path), _opened(path) as image:
        return np.asarray(image.convert("RGB"))


def read_depth_png(path: Path, steps_per_metre: float, missing: tuple[int, ...]) -> Float32[ndarray, "height width"]:
    """Metres of a 16-bit PNG.

    Args:
        path: The file.
        steps_per_metre: What the stored numbers count.
        missing: Numbers that stand for no measurement; they become NaN.

    Raises:
        FileNotFoundError: there is none.
        ValueError: damaged, not grey of 16 bits, or far too large.
    """
    with naming(path), _opened(path) as image:
        if not image.mode.startswith("I"):
            raise ValueError(f"depth must be grey of 16 bits, got mode {image.mode}")
        code = np.asarray(image)
    metres = code.astype(np.float32) / np.float32(steps_per_metre)
    return np.where(np.isin(code, missing), np.float32(np.nan), metres)


def read_depth_npz(path: Path) -> Float32[ndarray, "height width"]:
    """Metres of an ``.npz`` whose one array is ``arr_0`` (numpy's name for an array without one).

    Raises:
        FileNotFoundError: there is none.
        ValueError: damaged, or another array.
    """
    with naming(path), np.load(path, allow_pickle=False) as stored:
        metres = stored["arr_0"]
        if metres.ndim != 2 or metres.dtype.kind not in "fu" or metres.size > MAX_PIXELS:
            raise ValueError(f"it holds {metres.dtype} of shape {metres.shape}")
    return metres.astype(np.float32)


def panorama_from_cassini(image: Shaped[ndarray, "tall wide *channels"], *, mode: str) -> Shaped[ndarray, "h w *c"]:
    """A Cassini image [2 H, H] as a panorama [H, 2 H] of the same numbers.

    Cassini's projection is the equirectangular one with its poles at the left and the right: columns run over
    asin(x), rows over the angle around the x axis, atan2(y, z), of a direction in our axes. Lying on its side, it is a
    panorama whose axes are exchanged, which is how it is sampled.

    Args:
        image: Rows and columns, with or without channels.
        mode: ``bilinear`` for colour, ``nearest`` for depth (no number between a tree and the sky behind it).

    Raises:
        ValueError: the image is not twice as high as wide.
    """
    tall, wide = image.shape[:2]
    if tall != 2 * wide:
        raise ValueError(f"a Cassini image must be twice as high as wide, got {wide} x {tall}")
    channels = image.reshape(tall, wide, -1)
    lying = torch.from_numpy(np.ascontiguousarray(channels.transpose(2, 1, 0), dtype=np.float32))
    directions = directions_from_panorama((wide, tall), dtype=torch.float64)
    xy = panorama_xy_from_directions(directions[..., [1, 0, 2]], (wide, tall))
    panorama = sample_panorama(lying, xy, mode).permute(1, 2, 0).numpy()
    if image.dtype.kind == "u":
        panorama = panorama.round()
    return panorama.astype(image.dtype).reshape(wide, tall, *image.shape[2:])


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture of a size that can be."""
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        yield image
