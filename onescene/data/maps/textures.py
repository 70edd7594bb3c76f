"""Decodes images and packs them, with their mip levels, into one array that compiled code can index."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from onescene.data.maps.pk3 import PackFiles

MAX_TEXTURE_PX = 512  # finer detail is below a panorama's pixel beyond arm's length
LEVELS = 10  # 512 down to 1


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Images of different sizes in one array.

    Attributes:
        pixels: All texels of all levels [n, 4], RGBA.
        offset: First texel of each image and level [images, LEVELS].
        size: Height and width of each image and level [images, LEVELS, 2].
    """

    pixels: np.ndarray
    offset: np.ndarray
    size: np.ndarray


def decode_image(data: bytes) -> np.ndarray | None:
    """RGBA pixels [h, w, 4] uint8 of a TGA, JPEG or PNG file, or None where they cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def read_image(packs: PackFiles, name: str | None) -> np.ndarray | None:
    """RGBA pixels of a stored image; None where it is missing or damaged."""
    if name is None or name not in packs:
        return None
    return decode_image(packs.read(name))


def _power_of_two(size: int, limit: int) -> int:
    return int(min(limit, 2 ** round(np.log2(max(size, 1)))))


def mip_levels(image: np.ndarray) -> list[np.ndarray]:
    """Level 0 (sides rounded to powers of two, at most MAX_TEXTURE_PX) and its halvings, LEVELS in all."""
    height, width = (_power_of_two(s, MAX_TEXTURE_PX) for s in image.shape[:2])
    levels = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)]
    for _ in range(LEVELS - 1):
        height, width = max(height // 2, 1), max(width // 2, 1)
        levels.append(cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_AREA))
    return levels


def build_atlas(images: list[np.ndarray]) -> Atlas:
    """Packs RGBA images [h, w, 4] uint8 with their mip levels."""
    blocks, offsets, sizes, total = [], [], [], 0
    for image in images:
        levels = mip_levels(np.ascontiguousarray(image))
        counts = [level.shape[0] * level.shape[1] for level in levels]
        offsets.append(total + np.concatenate([[0], np.cumsum(counts[:-1])]))
        sizes.append([level.shape[:2] for level in levels])
        blocks.extend(level.reshape(-1, 4) for level in levels)
        total += sum(counts)
    return Atlas(
        pixels=np.concatenate(blocks) if blocks else np.zeros((1, 4), np.uint8),
        offset=np.array(offsets, dtype=np.int64).reshape(-1, LEVELS),
        size=np.array(sizes, dtype=np.int64).reshape(-1, LEVELS, 2),
    )
