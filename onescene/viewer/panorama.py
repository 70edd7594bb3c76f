"""One self-contained HTML page that looks around in a panorama, and panoramas as small JPEG files."""

from __future__ import annotations

import html
import io

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from onescene.viewer.html import PANORAMA_SCRIPTS, bundle, data_url, fill, read_asset


def jpeg_bytes(rgb: Float[Tensor, "3 height width"], *, max_width: int | None = None, quality: int = 88) -> bytes:
    """An RGB image in [0, 1] (clamped) as a JPEG file, scaled down to ``max_width`` [pixels] where it is wider."""
    array = (rgb.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(array)
    if max_width is not None and image.width > max_width:
        size = (max_width, max(1, round(image.height * max_width / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def check_panorama(panorama: Tensor) -> None:
    """Raises ValueError unless the tensor is a [3, H, 2 H] image."""
    shape = tuple(panorama.shape)
    if len(shape) != 3 or shape[0] != 3 or shape[2] != 2 * shape[1]:
        raise ValueError(f"panorama must have shape [3, H, 2 H], got {list(shape)}")


def panorama_html(panorama: Float[Tensor, "3 height width"], *, title: str = "Panorama", max_width: int = 4096) -> str:
    """A page that looks around in a panorama: one file, no network.

    Args:
        panorama: RGB in [0, 1], twice as wide as high.
        title: Shown in the browser's tab.
        max_width: Wider panoramas are scaled down to it [pixels]; phones hold 4096.

    Raises:
        ValueError: the panorama is not 2:1.
    """
    check_panorama(panorama)
    values = {
        "title": html.escape(title),
        "image": data_url(jpeg_bytes(panorama, max_width=max_width)),
        "script": bundle(PANORAMA_SCRIPTS),
    }
    return fill(read_asset("panorama_template.html"), values)
