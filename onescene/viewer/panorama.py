"""One self-contained HTML page that looks around in a panorama."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from onescene.viewer.html import PANORAMA_SCRIPTS, page
from onescene.viewer.pictures import data_url, jpeg_bytes


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
    data = {"panorama": data_url(jpeg_bytes(panorama, max_width=max_width))}
    return page(title, "panorama", PANORAMA_SCRIPTS, data)
