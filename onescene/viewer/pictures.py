"""Pictures for pages: tensors as JPEG files, files as ``data:`` URLs, and many small pictures on one sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

MOST = 12  # more cameras hide each other
TILE_PX = 256  # longer side of a tile
QUALITY = 82  # JPEG


def data_url(image: bytes, name: str = "panorama_png") -> str:
    """A PNG or JPEG file as a ``data:`` URL.

    Raises:
        ValueError: the bytes are neither.
    """
    kinds = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
    for magic, kind in kinds.items():
        if image.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
    raise ValueError(f"{name} must be the bytes of a PNG or JPEG file, got {image[:8]!r}...")


def pil_image(rgb: Float[Tensor, "3 height width"]) -> Image.Image:
    """An RGB tensor in [0, 1] (clamped) as a Pillow image."""
    return Image.fromarray((rgb.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def figure_jpeg(figure: Any, dpi: int) -> bytes:
    """A matplotlib figure as a JPEG file of so many pixels per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=dpi)
    return buffer.getvalue()


def still_bundle(jpeg: bytes, text: str) -> tuple[dict[str, str], dict]:
    """What a notebook displays where no one is watching: a picture, and words for who can not see it."""
    return {"image/jpeg": base64.b64encode(jpeg).decode("ascii"), "text/plain": text}, {}


def jpeg_bytes(
    rgb: Float[Tensor, "3 height width"], *, max_width: int | None = None, quality: int = 88, optimize: bool = True
) -> bytes:
    """An RGB image in [0, 1] (clamped) as a JPEG file, scaled down to ``max_width`` [pixels] where it is wider.

    ``optimize`` takes a second look for the smallest file.
    """
    image = pil_image(rgb)
    if max_width is not None and image.width > max_width:
        size = (max_width, max(1, round(image.height * max_width / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=optimize)
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Small pictures of some of the cameras of a trajectory.

    Attributes:
        indices: Which cameras of the trajectory they show.
        columns: Tiles in a row.
        rows: Rows of tiles; the last one may have empty places.
        jpeg: The picture, a JPEG file.
    """

    indices: tuple[int, ...]
    columns: int
    rows: int
    jpeg: bytes


def evenly(count: int, most: int = MOST) -> tuple[int, ...]:
    """At most ``most`` of ``count`` indices, at equal steps, the first always among them."""
    step = max(1, -(-count // most))
    return tuple(range(0, count, step))


def make_sheet(images: Sequence[Float[Tensor, "3 h w"]]) -> Sheet:
    """The sheet of a trajectory's pictures.

    Args:
        images: RGB in [0, 1], one per camera of the trajectory, one size. Only those that are shown are looked at,
            so that a sequence may read its files when it is asked for an item.

    Raises:
        ValueError: no image, or images of several sizes.
    """
    if len(images) == 0:
        raise ValueError("images must hold at least one picture, got none")
    indices = evenly(len(images))
    tiles = [_tile(images[k]) for k in indices]
    sizes = {tile.size for tile in tiles}
    if len(sizes) > 1:
        raise ValueError(f"images must share one size, got {len(sizes)} sizes")
    (width, height) = tiles[0].size
    columns = min(len(tiles), max(1, round((len(tiles) * height / width) ** 0.5)))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * width, place // columns * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return Sheet(indices=indices, columns=columns, rows=rows, jpeg=buffer.getvalue())


def _tile(image: Tensor) -> Image.Image:
    tile = pil_image(image)
    tile.thumbnail((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
    return tile
