"""Photos, panoramas, masks and distance maps: files in, tensors out, and back; always whole or not at all."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from onescene.io.atomic import atomic_path
from onescene.io.image_decode import MAX_PIXELS, decode_image
from onescene.io.sources import existing_file, suffix_of

MIN_SIDE_PX = 64
MAX_ASPECT = 16  # a reduced photo keeps a short side of about a hundred pixels
_FILM_DIAGONAL_MM = math.hypot(36, 24)


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo, upright and reduced.

    Attributes:
        rgb: Colour in [0, 1] (sRGB, as displayed).
        original_hw: Height and width of the upright file [px].
        focal_35mm: Focal length on a 35 mm film as the camera noted it [mm], or None.
    """

    rgb: Float[Tensor, "3 height width"]
    original_hw: tuple[int, int]
    focal_35mm: float | None

    @property
    def fov_deg(self) -> float | None:
        """Field of view along the long side [degrees], from ``focal_35mm``; None where that is not known.

        The 35 mm equivalent keeps the diagonal of the picture (43.3 mm on film), whatever its aspect. A photo that was
        cropped later, or stitched, shows another field of view than its camera noted.
        """
        if self.focal_35mm is None:
            return None
        long_mm = _FILM_DIAGONAL_MM * max(self.original_hw) / math.hypot(*self.original_hw)
        return math.degrees(2 * math.atan(long_mm / (2 * self.focal_35mm)))


def load_photo(path: str | os.PathLike, *, max_side_px: int = 1536, max_pixels: int = MAX_PIXELS) -> Photo:
    """Reads a photo of any usual kind, turned upright, as sRGB, reduced by averaging over areas.

    JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and PPM; colour, grey, palette, black and white, CMYK; 8 and 16 bits.
    Transparent pixels show white. Embedded colour profiles of 8-bit pictures are converted to sRGB.

    Args:
        path: The file.
        max_side_px: The long side of the result is at most this; photos are never enlarged.
        max_pixels: Larger files are refused. While they are read, 100 megapixels take 0.3 GB as a JPEG, 0.65 GB
            as a PNG, 1.2 GB in 16-bit colour.

    Raises:
        FileNotFoundError: no such file.
        IsADirectoryError: ``path`` is a folder.
        ValueError: empty, truncated, not an image, under 64 pixels on a side, longer than 16 times its width, or more
            pixels than ``max_pixels``.
    """
    if max_side_px < MIN_SIDE_PX:
        raise ValueError(f"max_side_px must be at least {MIN_SIDE_PX}, got {max_side_px}")

    def target(height: int, width: int) -> tuple[int, int]:
        _check_sides("photo", height, width, found)
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise ValueError(f"photo must be at most {MAX_ASPECT} times as long as wide, got {width} x {height}")
        factor = min(1.0, max_side_px / max(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))

    found = existing_file(path, "photo")
    decoded = decode_image(found, "photo", target, max_pixels=max_pixels)
    return Photo(rgb=_tensor(decoded.rgb), original_hw=decoded.original_hw, focal_35mm=decoded.focal_35mm)


def load_panorama(
    path: str | os.PathLike, *, max_height_px: int = 1024, max_pixels: int = MAX_PIXELS
) -> Float[Tensor, "3 height width"]:
    """Reads an equirectangular panorama, RGB in [0, 1], of exactly W = 2 H, reduced by averaging over areas.

    Args:
        path: The file, of any kind that :func:`load_photo` reads.
        max_height_px: The height of the result is at most this.
        max_pixels: Larger files are refused.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: as :func:`load_photo`; also a file that is not twice as wide
            as high (one pixel off is stretched).
    """
    if max_height_px < MIN_SIDE_PX:
        raise ValueError(f"max_height_px must be at least {MIN_SIDE_PX}, got {max_height_px}")

    def target(height: int, width: int) -> tuple[int, int]:
        if abs(width - 2 * height) > 1:
            raise ValueError(f"panorama must be twice as wide as high, got {width} x {height}: {found}")
        _check_sides("panorama", height, width, found)
        reduced = min(height, max_height_px)
        return reduced, 2 * reduced

    found = existing_file(path, "panorama")
    return _tensor(decode_image(found, "panorama", target, max_pixels=max_pixels).rgb)


def load_image(path: str | os.PathLike) -> Float[Tensor, "3 height width"]:
    """Reads an image of any size as it is, RGB in [0, 1]: what :func:`save_image` wrote, or a view to compare with."""
    found = existing_file(path, "image")
    return _tensor(decode_image(found, "image", lambda height, width: (height, width)).rgb)


def load_mask(path: str | os.PathLike) -> Bool[Tensor, "height width"]:
    """Reads a mask: True where the image is brighter than middle grey."""
    return load_image(path).mean(dim=0) > 0.5


def load_distance(path: str | os.PathLike) -> Float[Tensor, "height width"]:
    """Reads a distance map of :func:`save_distance`.

    Raises:
        FileNotFoundError, IsADirectoryError: nothing or a folder there.
        ValueError: not an ``.npy`` of numbers, truncated, not 2:1, or values that are not finite and positive.
    """
    found = existing_file(path, "distance map")
    try:
        values = np.load(found, mmap_mode="r", allow_pickle=False)
        if values.dtype.kind != "f" or values.ndim != 2:
            raise ValueError(f"it holds {values.dtype} of shape {values.shape}")
        distance = torch.from_numpy(np.array(values, dtype=np.float32))
    except (ValueError, EOFError, OSError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"distance map must be an .npy file of numbers [H, 2 H] ({reason}): {found}") from error
    return _checked_distance(distance, str(found))


def save_image(rgb: Float[Tensor, "3 height width"], path: str | os.PathLike) -> Path:
    """Writes RGB as a PNG of 8 bits; values outside [0, 1] are clipped. Returns the path.

    Raises:
        ValueError: a NaN, or a path that does not end in .png.
    """
    pixels = _finite(rgb, "rgb").clamp(0, 1).mul(255).round().to(torch.uint8)
    return _save_png(pixels.permute(1, 2, 0).numpy(), path)


def save_mask(mask: Bool[Tensor, "height width"] | Float[Tensor, "height width"], path: str | os.PathLike) -> Path:
    """Writes a mask or weights in [0, 1] as a grey PNG of 8 bits, 1 = white. Returns the path."""
    return _save_png(_finite(mask.float(), "mask").clamp(0, 1).mul(255).round().to(torch.uint8).numpy(), path)


def save_gray16(values: Float[Tensor, "height width"], path: str | os.PathLike) -> Path:
    """Writes values in [0, 1] as a grey PNG of 16 bits. Returns the path."""
    levels = _finite(values, "values").double().clamp(0, 1).mul(65535).round()
    return _save_png(levels.numpy().astype(np.uint16), path)


def save_distance(distance: Float[Tensor, "height width"], path: str | os.PathLike) -> Path:
    """Writes a panorama's distance map [world units] as float32 ``.npy``. Returns the path.

    Raises:
        ValueError: not 2:1, values that are not finite and positive, or a path that does not end in .npy.
    """
    if suffix_of(path) != ".npy":
        raise ValueError(f"a distance map must be written to .npy, got {Path(path).name!r}")
    checked = _checked_distance(distance.detach().cpu().float(), "distance")
    with atomic_path(path) as temporary:
        np.save(temporary, checked.numpy(), allow_pickle=False)
    return Path(path)


def _tensor(rgb: Float[np.ndarray, "height width 3"]) -> Float[Tensor, "3 height width"]:
    """Channel last to channel first."""
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()


def _check_sides(what: str, height: int, width: int, path: Path) -> None:
    """Refuses images in which there is nothing to see."""
    if min(height, width) < MIN_SIDE_PX:
        raise ValueError(f"{what} must be at least {MIN_SIDE_PX} pixels on each side, got {width} x {height}: {path}")


def _finite(values: Tensor, name: str) -> Tensor:
    """Values on the CPU, if none is NaN (infinities are clipped later)."""
    values = values.detach().cpu()
    if values.isnan().any():
        raise ValueError(f"{name} must not hold NaN, got {int(values.isnan().sum())} of them")
    return values


def _checked_distance(distance: Tensor, subject: str) -> Tensor:
    """A distance map, if it can be one."""
    height, width = distance.shape
    if width != 2 * height or height < 1:
        raise ValueError(f"{subject} must be a panorama's distance map [H, 2 H], got {height} x {width}")
    bad = ~((distance > 0) & (distance < math.inf))
    if bad.any():
        raise ValueError(f"{subject} must be finite and positive everywhere, got {int(bad.sum())} other values")
    return distance


def _save_png(pixels: np.ndarray, path: str | os.PathLike) -> Path:
    """Writes pixels of 8 or 16 bits."""
    if suffix_of(path) != ".png":
        raise ValueError(f"an image must be written to .png, got {Path(path).name!r}")
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
    return Path(path)
